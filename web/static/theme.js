// Runs before the first paint, so that a chosen theme doesn't flash. Without a choice the page follows the system.
(() => {
  try {
    const theme = localStorage.getItem('heaptide.theme');
    if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
  } catch {
    // Storage can be forbidden; the system's theme will do.
  }
})();
