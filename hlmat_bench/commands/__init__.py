"""The commands of the command line, a file for each purpose; heavy imports happen inside of them."""
