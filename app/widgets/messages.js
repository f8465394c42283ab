// Streamlit's own words for a server that is gone name a command that nobody here has used.
function inOurWords() {
  for (const dialog of document.querySelectorAll("[role=dialog], [data-testid=stConnectionStatus]")) {
    const texts = document.createTreeWalker(dialog, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      const told = texts.currentNode.data.replace(/streamlit run \S+/g, "kb app").replace(/\bStreamlit( server)?\b/g, "the app");
      if (told !== texts.currentNode.data) texts.currentNode.data = told;
    }
  }
}
