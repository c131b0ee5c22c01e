"use strict";
/* Set the chosen colours before the page is painted. The only script that is not deferred, so that nothing flashes. */
document.documentElement.classList.add("js");
try {
  const theme = localStorage.getItem("hlmat-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage can be forbidden, as in some browsers for pages opened from a file: the theme of the system stays.
}
