/* How Sphinx's search orders its results: as by default, but a chapter whose title has all the words comes first. */
var Scorer = {
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  score: ([page, title, anchor, about, score]) => {
    const query = new URLSearchParams(window.location.search).get("q") ?? "";
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const chapter = page.startsWith("course/") && !anchor && words.every((word) => title.toLowerCase().includes(word));
    return chapter ? score + 100 : score;
  },
};
