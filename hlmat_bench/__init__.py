"""hlmat-bench: does a multimodal LLM know which pixels belong to the object you name?"""
