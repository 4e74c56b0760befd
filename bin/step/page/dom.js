// Making elements. Text from the trace only ever becomes a text node or an attribute that holds text.

const byId = id => document.getElementById(id);

/** An element with attributes, listeners (`onclick`), a `key` by which it keeps the focus, and children; strings become text nodes. */
function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === 'class') node.className = value;
    else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else if (key === 'key') node.dataset.key = value;
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return node;
}

/** The same for SVG. */
function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** Text that stands back, and text made of digits. */
const muted = (tag, ...children) => el(tag, { class: 'muted' }, ...children);
const digits_ = (tag, ...children) => el(tag, { class: 'number' }, ...children);

/** A push button. */
const button = (text, onclick, properties = {}) => el('button', { type: 'button', onclick, ...properties }, text);

/** Prose from a lesson: paragraphs at blank lines, `code` in backticks. */
function prose(text, properties = {}) {
  const paragraphs = String(text).split(/\n\s*\n/).map(paragraph =>
    el('p', {}, paragraph.split('`').map((piece, i) => (i % 2 ? el('code', {}, piece) : piece))));
  return el('div', { class: 'prose', ...properties }, paragraphs);
}

/** What the formulas of our ops are made of. */
const MATH_TAGS = new Set('math mrow mi mo mn mtext mspace msub msup msubsup munder mover munderover mfrac msqrt mtable mtr mtd mstyle'.split(' '));
const MATH_ATTRIBUTES = new Set('display mathvariant stretchy fence separator lspace rspace width columnalign displaystyle'.split(' '));

/** MathML rebuilt from a string, element by known element: anything else in it becomes text. */
function math(formula) {
  const plain = () => el('code', { class: 'formula' }, formula?.text ?? '');
  if (!formula?.mathml) return plain();
  const source = /^\s*<math/.test(formula.mathml) ? formula.mathml : `<math>${formula.mathml}</math>`;
  const document_ = new DOMParser().parseFromString(source.replace(/&(?!amp;|lt;|gt;|quot;|#)/g, '&amp;'), 'application/xml');
  if (document_.getElementsByTagName('parsererror').length > 0) return plain();
  const copy = node => {
    if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
    if (node.nodeType !== Node.ELEMENT_NODE) return null;
    if (!MATH_TAGS.has(node.localName)) return document.createTextNode(node.textContent);
    const made = document.createElementNS('http://www.w3.org/1998/Math/MathML', node.localName);
    for (const { name, value } of node.attributes) if (MATH_ATTRIBUTES.has(name)) made.setAttribute(name, value);
    for (const child of node.childNodes) {
      const copied = copy(child);
      if (copied) made.append(copied);
    }
    return made;
  };
  const made = copy(document_.documentElement);
  if (made.nodeType !== Node.ELEMENT_NODE || made.localName !== 'math') return plain();
  made.setAttribute('display', 'block');
  if (formula.text) made.setAttribute('alttext', formula.text);
  return made;
}

/** Puts text on the clipboard; pages opened from disk may only have the older way. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = el('textarea', { class: 'vh', 'aria-hidden': 'true' });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}
