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
