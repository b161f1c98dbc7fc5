"""Scripts that measure a page in a browser."""

# The lowest contrast between a text and its background, by the formula of WCAG 2.2:
# https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
LOWEST_CONTRAST = """
const channels = colour => colour.match(/[\\d.]+/g).map(Number);
const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
const luminance = colour => {
  const [r, g, b] = channels(colour).map(part => linear(part / 255));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (channels(colour)[3] !== 0) return colour;
  }
  return "rgb(255, 255, 255)";
};
let lowest = 21;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
  const [low, high] = [getComputedStyle(element).color, ground(element)]
    .map(luminance).sort((a, b) => a - b);
  lowest = Math.min(lowest, (high + 0.05) / (low + 0.05));
}
return lowest;
"""
WIDTH = "return document.documentElement.scrollWidth"

# The largest share of its box that the first column of a table takes, which stays in place when
# the other columns scroll.
FIRST_COLUMN = """
return Math.max(0, ...Array.from(document.querySelectorAll(".scroll"), box => {
  const first = box.querySelector("tbody th");
  return first ? first.getBoundingClientRect().width / box.clientWidth : 0;
}));
"""
# The numbers that cannot be brought into view completely beside the first column of their table.
UNREACHABLE = """
return Array.from(document.querySelectorAll(".scroll"), box => {
  const first = box.querySelector("tbody th").getBoundingClientRect().width;
  return Array.from(box.querySelectorAll("td.number")).filter(cell => {
    cell.scrollIntoView({behavior: "instant", block: "nearest", inline: "end"});
    const [place, frame] = [cell.getBoundingClientRect(), box.getBoundingClientRect()];
    return place.left < frame.left + first - 1 || place.right > frame.right + 1
      || cell.scrollWidth > cell.clientWidth + 1;
  }).map(cell => cell.textContent);
}).flat();
"""
# The texts that another element hides a part of, tables aside.
CUT_OFF = """
return Array.from(document.querySelectorAll("main *"))
  .filter(one => one.checkVisibility() && getComputedStyle(one).overflowX !== "visible")
  .filter(one => !one.matches(".scroll, img, button") && one.scrollWidth > one.clientWidth + 1)
  .map(one => one.textContent.slice(0, 60));
"""
UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
