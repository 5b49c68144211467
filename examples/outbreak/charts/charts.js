// Charts as figures: the picture, what it shows in words, and ways to take it along.

import { address, get, text } from "./service.js";

let count = 0;

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A chart of an artifact, put into `parent`; drawn once `shown` is called. `further` makes more of its grammar. */
export function figure(parent, title, artifact, asked, { kind = "", further = () => [] } = {}) {
  const id = `chart-${(count += 1)}`;
  const path = `artifacts/${artifact}/$chart?${new URLSearchParams(asked)}`;
  const heading = element("h3", { id: `${id}-title`, textContent: title });
  const picture = element("div", { className: `chart ${kind}` }, element("p", { textContent: "Being drawn …" }));
  const caption = element("figcaption", { id: `${id}-said` });
  const made = element("figure", {}, heading, picture, caption, links(title, path));
  made.setAttribute("aria-labelledby", heading.id);
  made.setAttribute("aria-busy", "true");
  parent.append(made);
  return { made, shown: () => show(path, picture, caption, made, id, further) };
}

async function show(path, picture, caption, made, id, further) {
  try {
    const spec = await get(path);
    caption.replaceChildren(spec.description, ...further(spec));
    const drawing = clean(await text(`${path}&format=svg`));
    drawing.setAttribute("role", "img");
    drawing.setAttribute("aria-labelledby", `${id}-title`);
    drawing.setAttribute("aria-describedby", `${id}-said`);
    picture.replaceChildren(drawing);
  } catch (problem) {
    picture.replaceChildren(element("p", { textContent: `This chart could not be drawn. ${problem.message}` }));
  }
  made.setAttribute("aria-busy", "false");
}

/** A picture as part of this page, without anything in it that could do something. */
function clean(svg) {
  const drawing = document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true);
  for (const bad of drawing.querySelectorAll("script, style, foreignObject, image, use, a")) bad.remove();
  for (const part of [drawing, ...drawing.querySelectorAll("*")]) {
    for (const { name } of [...part.attributes]) {
      // The picture as a whole has a name and a description; what its hundreds of parts say would only be in the way.
      if (/^(on|aria|xlink|href$|style$|role$)/.test(name)) part.removeAttribute(name);
    }
  }
  return drawing;
}

function links(title, bare) {
  const path = `${bare}&${new URLSearchParams({ title })}`;
  const link = (format, words) => {
    const made = element("a", { href: address(`${path}&format=${format}`), textContent: words });
    made.setAttribute("aria-label", `${title}: ${words}`);
    return element("li", {}, made);
  };
  return element("ul", { className: "links" }, link("png", "as a PNG"), link("svg", "as an SVG"), link("html", "as a page"));
}
