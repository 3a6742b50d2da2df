// What a browser made of the pages in this document's frames, as base64 JSON in #found.
const rectangle = e => e.getBoundingClientRect();
const overlap = (a, b) =>
  Math.min(a.right, b.right) - Math.max(a.left, b.left) > 0.5 &&
  Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 0.5;
const pairs = list => list.flatMap((a, i) => list.slice(i + 1).map(b => [a, b]));
const name = e => (e.textContent || e.tagName).trim().slice(0, 40);
const visible = e => rectangle(e).width > 1 && rectangle(e).height > 1;
const luminance = c => {
  const [r, g, b] = c.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
function measure(view) {
  const page = view.document, all = query => [...page.querySelectorAll(query)];
  const numbers = text => text.match(/[\d.]+/g).map(Number);
  const background = e => {
    for (; e; e = e.parentElement) {
      const c = numbers(view.getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
    }
  };
  const contrast = e => {
    const style = view.getComputedStyle(e);
    const ink = numbers(e.namespaceURI.endsWith('svg') ? style.fill : style.color).slice(0, 3);
    const [low, high] = [luminance(ink), luminance(background(e))].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
  };
  const groups = ['body', 'body > header', 'main', 'section', 'figure', '.plots', '.tiles', '.legend', 'tr']
    .flatMap(all).map(e => [...e.children].filter(visible));
  const texts = all('svg').map(svg => [...svg.querySelectorAll('text')].filter(visible));
  return {
    width: view.innerWidth,
    sideways: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    isDark: view.matchMedia('(prefers-color-scheme: dark)').matches,
    numPictures: all('svg').length,
    smallPictures: all('svg').filter(e => rectangle(e).width < 200 || rectangle(e).height < 60).map(name),
    overlaps: [...groups, ...texts].flatMap(pairs)
      .filter(([a, b]) => overlap(rectangle(a), rectangle(b))).map(([a, b]) => [name(a), name(b)]),
    cutTexts: all('svg text').filter(e => {
      const t = rectangle(e), p = rectangle(e.closest('svg'));
      return t.left < p.left - 1 || t.right > p.right + 1 || t.top < p.top - 1 || t.bottom > p.bottom + 1;
    }).map(name),
    leftOver: all('p, h1, h2, h3, li, figcaption, .tiles dd, .scroll, pre')
      .filter(e => visible(e) && rectangle(e).right > view.innerWidth + .5).map(name),
    tinyTexts: all('svg text').filter(e => rectangle(e).height < 9).map(name),
    paleTexts: all('p, h1, h2, th, td, .delta, figcaption, dt, dd, code, summary, svg text')
      .filter(e => visible(e) && e.textContent.trim() && contrast(e) < 4.5).map(name),
  };
}
addEventListener('load', () => {
  const found = [...document.querySelectorAll('iframe')].map(frame => measure(frame.contentWindow));
  document.getElementById('found').textContent = btoa(
    unescape(encodeURIComponent(JSON.stringify(found))));
});
