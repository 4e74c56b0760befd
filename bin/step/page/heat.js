// Heat maps: a diverging scale from blue through the colour of the paper to orange, always symmetric about 0.

const SCALES = [
  { name: 'linear', title: 'Linear, symmetric about 0, the whole tensor' },
  { name: 'map', title: 'Linear, symmetric about 0, this map alone' },
  { name: 'log', title: 'Logarithmic, symmetric about 0' },
];

/** Colours at -1, -1/2, 0, 1/2, 1. Blue and orange differ in every common kind of colour blindness. */
const STOPS = {
  light: [[16, 64, 128], [104, 156, 211], [248, 247, 243], [238, 158, 88], [166, 66, 8]],
  dark: [[150, 205, 255], [56, 118, 186], [30, 34, 40], [190, 102, 36], [255, 196, 128]],
};

/** Decades that the logarithmic scale shows below the largest value. */
const DECADES = 4;

const theme = () => document.documentElement.dataset.theme;

/** `t` in [-1, 1] to [r, g, b]. */
function colour(t) {
  const stops = STOPS[theme()];
  const x = (Math.max(-1, Math.min(1, t)) + 1) * 2;
  const i = Math.min(3, Math.floor(x));
  return stops[i].map((from, k) => Math.round(from + (stops[i + 1][k] - from) * (x - i)));
}

const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

/** Black or white, whichever reads better on a colour. */
const ink = ([r, g, b]) => {
  const linear = [r, g, b].map(v => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.18 ? '#111' : '#fff';
};

/** A value on the scale, -1 to 1. */
function onScale(x, reach, scale) {
  if (reach === 0) return 0;
  if (scale !== 'log') return x / reach;
  const floor = reach / 10 ** DECADES;
  const size = Math.abs(x);
  return size <= floor ? 0 : Math.sign(x) * (Math.log10(size / floor) / DECADES);
}

/** Diagonal lines over a cell whose value is not a number or not finite. */
function hatch(context, x, y, w, h) {
  context.save();
  context.beginPath();
  context.rect(x, y, w, h);
  context.clip();
  context.fillStyle = theme() === 'dark' ? '#4a4456' : '#ded8e8';
  context.fillRect(x, y, w, h);
  context.strokeStyle = theme() === 'dark' ? '#e9dcff' : '#3d2a5c';
  context.lineWidth = Math.max(0.75, Math.min(1.5, w / 12));
  const gap = Math.max(3, Math.min(7, w / 3));
  context.beginPath();
  for (let d = -h; d < w; d += gap) {
    context.moveTo(x + d, y + h);
    context.lineTo(x + d + h, y);
  }
  context.stroke();
  context.restore();
}

/** Side of a cell, in CSS pixels, so that a plane fits `room` both ways. */
const cellSide = (plane, room, most) => Math.max(1, Math.min(most, Math.floor(room / Math.max(1, plane.cols)), Math.floor(room / Math.max(1, plane.rows))));

/** Shows a canvas no larger than `most` CSS pixels either way: a plane of more cells than that would fill the page. */
function shrink(canvas, most) {
  const [width, height] = [canvas.style.width, canvas.style.height].map(parseFloat);
  const by = Math.max(width, height) / most;
  if (by <= 1) return;
  canvas.style.width = `${Math.max(1, width / by)}px`;
  canvas.style.height = `${Math.max(1, height / by)}px`;
}

/** Smallest cell that holds digits. */
const DIGITS = 34;

/**
 * Draws a plane. `marks` are cells (from the explanation of another one) to outline, `cursor` is the chosen cell.
 * @returns the side of a cell
 */
function drawHeat(canvas, plane, { reach, scale = 'linear', room = 400, most = 64, digits = false, marks = [], cursor = null }) {
  const side = cellSide(plane, room, most);
  const ratio = Math.max(1, Math.min(3, window.devicePixelRatio || 1));
  const [width, height] = [Math.max(1, plane.cols * side), Math.max(1, plane.rows * side)];
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  // In main memory: a small map is drawn once, and a surface on the GPU costs more than its pixels.
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.scale(ratio, ratio);
  const numbers = digits && side >= DIGITS;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  for (let r = 0; r < plane.rows; r++) {
    for (let c = 0; c < plane.cols; c++) {
      const x = plane.at(r, c);
      if (x === undefined) continue;
      const finite = Number.isFinite(x);
      const shade = finite ? colour(onScale(x, reach, scale)) : null;
      if (finite) {
        context.fillStyle = css(shade);
        context.fillRect(c * side, r * side, side, side);
      } else {
        hatch(context, c * side, r * side, side, side);
      }
      if (numbers) {
        const text = brief(x, side >= 52 ? 3 : 2);
        context.font = `${Math.min(13, Math.max(9, Math.floor((side - 4) / (text.length * 0.6))))}px ui-monospace, "SF Mono", Menlo, Consolas, monospace`;
        if (!finite) {
          context.fillStyle = theme() === 'dark' ? '#2b2536' : '#fff';
          context.fillRect(c * side + 3, (r + 0.5) * side - 8, side - 6, 16);
        }
        context.fillStyle = finite ? ink(shade) : theme() === 'dark' ? '#fff' : '#2a1744';
        context.fillText(text, (c + 0.5) * side, (r + 0.5) * side);
      }
    }
  }
  if (side >= 14) grid(context, plane, side);
  context.lineWidth = 2;
  outline(context, plane, side, marks);
  if (cursor) frame(context, cursor[0], cursor[1], side);
  return side;
}

/** Thin lines between cells large enough to be told apart. */
function grid(context, plane, side) {
  context.strokeStyle = theme() === 'dark' ? 'rgb(255 255 255 / 0.09)' : 'rgb(0 0 0 / 0.07)';
  context.lineWidth = 1;
  context.beginPath();
  for (let c = 1; c < plane.cols; c++) {
    context.moveTo(c * side + 0.5, 0);
    context.lineTo(c * side + 0.5, plane.rows * side);
  }
  for (let r = 1; r < plane.rows; r++) {
    context.moveTo(0, r * side + 0.5);
    context.lineTo(plane.cols * side, r * side + 0.5);
  }
  context.stroke();
}

/** The border of a set of cells: edges between a marked cell and one that is not. */
function outline(context, plane, side, marks) {
  if (marks.length === 0) return;
  const set = new Set(marks.map(([r, c]) => r * plane.cols + c));
  const has = (r, c) => r >= 0 && c >= 0 && c < plane.cols && set.has(r * plane.cols + c);
  context.beginPath();
  for (const [r, c] of marks) {
    const [x, y] = [c * side, r * side];
    const edges = [[has(r - 1, c), x, y, x + side, y], [has(r + 1, c), x, y + side, x + side, y + side],
      [has(r, c - 1), x, y, x, y + side], [has(r, c + 1), x + side, y, x + side, y + side]];
    for (const [inside, x1, y1, x2, y2] of edges) {
      if (inside) continue;
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
    }
  }
  // Light around dark, so that the line shows on every colour.
  context.strokeStyle = '#fff';
  context.lineWidth = 4;
  context.stroke();
  context.strokeStyle = '#111';
  context.lineWidth = 2;
  context.stroke();
}

/** The chosen cell. */
function frame(context, r, c, side) {
  const pad = side >= 8 ? 1.5 : 0;
  const grow = side < 8 ? 2 : 0;
  for (const [style, width] of [['#fff', 4], ['#111', 2]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.strokeRect(c * side + pad - grow, r * side + pad - grow, side - 2 * pad + 2 * grow, side - 2 * pad + 2 * grow);
  }
}

/** The colour bar under a map, as a picture; its ends are written beside it. */
function drawBar(canvas) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = css(colour((x / (canvas.width - 1)) * 2 - 1));
    context.fillRect(x, 0, 1, canvas.height);
  }
}

/** What a screen reader hears for a map. */
function describe(plane, what) {
  const { tensor, values } = plane;
  if (product(tensor.shape) === 0) return `${what} of ${tensor.name}: empty, shape ${shapeText(tensor)}`;
  const { min, max, nan, inf } = values?.summary ?? {};
  const odd = [nan ? `${nan} NaN` : '', inf ? `${inf} infinite` : ''].filter(Boolean).join(', ');
  return `${what} of ${tensor.name}, ${plane.rows} by ${plane.cols}, from ${brief(min)} to ${brief(max)}${odd ? `, ${odd}` : ''}`;
}
