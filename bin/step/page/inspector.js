// The chosen tensor, large: heat map, selectors, statistics, the chosen cell and where it comes from, and the table behind it.

/** More cells than this are shown in a table only when asked for, row by row of the plane. */
const VIEWS = { value: 'Value', grad: 'Gradient', part: 'Contribution of this step' };

/** The values of a view of a tensor at a step. */
function valuesOf(tensor, view, part) {
  // The only contribution to a tensor is the whole of its gradient.
  if (view === 'part') return part?.value ?? (tensor.parts.length === 1 ? tensor.grad : null);
  return tensor[view] ?? null;
}

class Inspector {
  constructor(app) {
    this.app = app;
    this.host = el('section', { class: 'card inspector', 'aria-labelledby': 'inspector-title' });
    this.marks = new Map();
  }

  /** What is on show: the tensor, the view, its values and the place on the selector axes. */
  get subject() {
    const { state, trace } = this.app;
    const tensor = trace.tensor(state.tensor);
    if (!tensor) return null;
    const part = this.app.partFor(tensor);
    const views = Object.keys(VIEWS).filter(view => (view === 'part' ? part?.value && tensor.parts.length > 1 : tensor[view]));
    const view = views.includes(state.view) ? state.view : state.view === 'part' && tensor.grad ? 'grad' : views[0] ?? 'value';
    const values = valuesOf(tensor, view, part);
    const at = settle(tensor, values, state.at);
    return { tensor, part, views, view, values, at, plane: new Plane(tensor, values, at) };
  }

  render() {
    const subject = this.subject;
    this.current = subject;
    this.host.replaceChildren();
    if (!subject) return;
    const { tensor, views, view, values, plane } = subject;
    const { state } = this.app;
    const tabs = views.map(name => button(VIEWS[name], () => this.app.set({ view: name }), { 'aria-pressed': String(name === view), key: `view-${name}` }));
    this.host.append(
      el('header', {},
        el('div', {}, el('h3', { id: 'inspector-title' }, tensor.name), muted('p', [...new Set([tensor.role, shapeText(tensor)])].join(', '))),
        el('div', { class: 'tabs', role: 'group', 'aria-label': 'What to show' }, tabs)));
    if (!values) {
      this.host.append(muted('p', 'No values of this tensor are in the page.'));
      return;
    }
    if (this.app.hidden(tensor, view)) {
      this.host.append(el('p', { class: 'veil' }, 'Hidden until you have predicted.'));
      return;
    }
    this.scan = plane.here ? plane.scan() : { reach: 0, nan: 0, inf: 0 };
    this.reach = SCALES[state.scale].name === 'map' ? this.scan.reach : Math.max(values.reach, values.summary.max === undefined ? this.scan.reach : 0);
    this.canvas = el('canvas', { class: 'heat', role: 'img', 'aria-label': describe(plane, VIEWS[view]) });
    this.canvas.addEventListener('pointermove', event => this.hover(event));
    this.canvas.addEventListener('pointerleave', () => this.point(null));
    this.canvas.addEventListener('click', event => this.choose(event));
    this.readout = el('div', { class: 'readout' });
    const picture = product(tensor.shape) === 0
      ? el('p', { class: 'veil' }, `Empty: shape (${tensor.shape.join(', ')}) has no elements.`)
      : plane.here ? el('div', { class: 'plot' }, this.axisLabels(plane), el('div', { class: 'scroller', tabindex: '0', role: 'group', 'aria-label': 'Heat map' }, this.canvas), this.legend()) : el('p', { class: 'veil' }, `The page holds the summary of this tensor alone. ${this.app.trace.leftOut ?? ''}`);
    this.host.append(el('div', { class: 'split' },
      el('div', { class: 'left' }, picture, plane.here ? this.moveButtons() : null),
      el('div', { class: 'right' }, this.selectors(subject), this.gallery(subject), this.statistics(values), plane.here ? this.readout : null, this.contributions(subject))));
    if (plane.here) this.host.append(this.table(subject));
    if (plane.here) this.draw();
    this.point(null);
  }

  draw(marks = []) {
    const { plane } = this.current;
    const { state } = this.app;
    const room = Math.max(200, Math.min(440, this.app.width - 90));
    this.side = drawHeat(this.canvas, plane, { reach: this.reach, scale: SCALES[state.scale].name, room, most: 72, digits: true, cursor: this.cursor(), marks });
  }

  /** The chosen cell, in the plane. */
  cursor() {
    const { plane, tensor } = this.current;
    const cell = this.app.state.cell;
    return cell && cell.length === tensor.shape.length ? plane.cell(cell) : null;
  }

  axisLabels(plane) {
    const { row, col } = plane.labels;
    const text = [row && `${row} down`, col && `${col} across`, plane.wrapped && `wrapped at ${WRAP}`].filter(Boolean).join(', ');
    return text ? el('p', { class: 'axes muted' }, text) : null;
  }

  legend() {
    const { nan, inf } = this.scan;
    const bar = el('canvas', { class: 'bar', width: 128, height: 10, 'aria-hidden': 'true' });
    drawBar(bar);
    const { state } = this.app;
    const odd = [nan ? `${nan} NaN` : '', inf ? `${inf} Inf` : ''].filter(Boolean).join(', ');
    return el('div', { class: 'legend' },
      digits_('span', brief(-this.reach)), bar, digits_('span', brief(this.reach)),
      button(`Scale: ${SCALES[state.scale].name}`, () => this.app.nextScale(), { title: `${SCALES[state.scale].title} (s)`, 'aria-keyshortcuts': 's', key: 'scale' }),
      odd ? el('span', { class: 'odd' }, el('span', { class: 'swatch', 'aria-hidden': 'true' }), `${odd} in this map, hatched`) : null);
  }

  moveButtons() {
    const go = (name, key, label) => button(name, () => this.app.moveCell(key), { 'aria-label': label, title: `${label} (${key})`, 'aria-keyshortcuts': key, key: `cell-${key}` });
    return el('div', { class: 'movers', role: 'group', 'aria-label': 'Choose a cell' }, muted('span', 'Cell'),
      go('←', 'h', 'Cell to the left'), go('↓', 'j', 'Cell below'), go('↑', 'k', 'Cell above'), go('→', 'l', 'Cell to the right'));
  }

  selectors({ tensor, values, at, plane }) {
    const { rest } = plane.axes;
    const rows = rest.filter(axis => tensor.shape[axis] > 1).map(axis => {
      const last = axis === rest.at(-1);
      const here = values.available(axis, rest.filter(other => other > axis), at);
      const name = tensor.axes[axis] ?? `axis ${axis}`;
      const id = `at-${axis}`;
      const change = by => () => this.app.moveAt(axis, by);
      const select = el('select', { id, key: id, onchange: event => this.app.setAt(axis, Number(event.target.value)) },
        here.map(i => el('option', { value: i, selected: i === at[axis] }, String(i))));
      return el('div', { class: 'selector' }, el('label', { for: id }, axisName(name)),
        button('‹', change(-1), { 'aria-label': `Previous ${axisName(name)}`, title: last ? 'Previous channel ([)' : null, 'aria-keyshortcuts': last ? '[' : null, key: `${id}-down` }), select,
        button('›', change(1), { 'aria-label': `Next ${axisName(name)}`, title: last ? 'Next channel (])' : null, 'aria-keyshortcuts': last ? ']' : null, key: `${id}-up` }),
        muted('span', here.length === tensor.shape[axis] ? `of ${tensor.shape[axis]}` : `${here.length} of ${tensor.shape[axis]} in the page`));
    });
    return rows.length ? el('div', { class: 'selectors' }, rows) : null;
  }

  /** Small maps of every channel in the page, to choose from. */
  gallery({ tensor, values, at, plane }) {
    const { rest } = plane.axes;
    const axis = rest.at(-1);
    if (axis === undefined || tensor.shape[axis] < 2 || plane.rows * plane.cols < 4) return null;
    const here = values.available(axis, rest.slice(0, -1), at).slice(0, 32);
    if (here.length < 2) return null;
    const maps = here.map(i => {
      const index = [...at];
      index[axis] = i;
      const canvas = el('canvas', { 'aria-hidden': 'true' });
      const small = new Plane(tensor, values, index);
      drawHeat(canvas, small, { reach: this.reach || values.reach, scale: SCALES[this.app.state.scale].name, room: 40, most: 12 });
      return el('button', { type: 'button', class: 'tile', 'aria-pressed': String(i === at[axis]), 'aria-label': `${axisName(tensor.axes[axis] ?? 'channel')} ${i}`, title: `${axisName(tensor.axes[axis] ?? 'channel')} ${i}`, key: `tile-${i}`, onclick: () => this.app.setAt(axis, i) }, canvas);
    });
    return el('div', { class: 'gallery', role: 'group', 'aria-label': `Maps by ${axisName(tensor.axes[axis] ?? 'channel')}` }, maps);
  }

  statistics(values) {
    const { min, max, mean, std, zeros, nan, inf, histogram } = values.summary;
    if (product(values.shape) <= 1) return null;
    const facts = [['min', min], ['mean', mean], ['max', max], ['std', std], ['zeros', zeros], ['norm', values.norm]];
    const list = el('dl', { class: 'facts' }, facts.filter(([, x]) => x !== undefined && x !== null).map(([name, x]) => el('div', {}, el('dt', {}, name), el('dd', { class: 'number' }, brief(x, 4)))));
    const odd = [nan ? `${nan} NaN` : '', inf ? `${inf} infinite` : ''].filter(Boolean).join(', ');
    return el('div', { class: 'statistics' }, list, odd ? el('p', { class: 'odd' }, el('span', { class: 'swatch', 'aria-hidden': 'true' }), odd) : null, histogramOf(histogram, values));
  }

  /** Gradients that several consumers sent to this tensor. */
  contributions({ tensor, view }) {
    if (view === 'value' || tensor.parts.length < 2) return null;
    const rows = tensor.parts.map(part => el('li', {},
      button(part.op.path || part.op.op, () => this.app.go('backward', part.place), { class: 'linkish', key: `part-${part.place}` }),
      digits_('span', `norm ${brief(part.norm)}`), meter(part.share)));
    return el('div', { class: 'parts' }, el('h4', {}, `Read ${tensor.parts.length} times: its gradient is the sum of`), el('ul', {}, rows));
  }

  table({ tensor, plane, view }) {
    const details = el('details', { class: 'table', key: 'table' }, el('summary', { key: 'table-summary' }, 'Table of these numbers'));
    const build = () => {
      if (details.querySelector('table')) return;
      const head = el('tr', {}, el('td', {}), Array.from({ length: plane.cols }, (_, c) => el('th', { scope: 'col' }, String(c))));
      const body = Array.from({ length: plane.rows }, (_, r) => el('tr', {}, el('th', { scope: 'row' }, String(plane.wrapped ? r * WRAP : r)),
        Array.from({ length: plane.cols }, (_, c) => {
          const x = plane.at(r, c);
          return el('td', { class: x === undefined ? 'none' : Number.isFinite(x) ? null : 'odd' }, x === undefined ? '' : exact(x));
        })));
      const caption = el('caption', {}, `${VIEWS[view]} of ${tensor.name}${plane.axes.rest.length ? `, ${plane.axes.rest.map(axis => `${tensor.axes[axis] ?? `axis ${axis}`}=${plane.base[axis]}`).join(', ')}` : ''}`);
      details.append(el('div', { class: 'scroller', tabindex: '0', role: 'region', 'aria-label': 'Table of numbers' }, el('table', {}, caption, el('thead', {}, head), el('tbody', {}, body))));
    };
    details.open = this.app.state.table;
    if (details.open) build();
    details.addEventListener('toggle', () => {
      this.app.state.table = details.open;
      if (details.open) build();
    });
    return details;
  }

  cellUnder(event) {
    const box = this.canvas.getBoundingClientRect();
    const [c, r] = [Math.floor((event.clientX - box.left) / this.side), Math.floor((event.clientY - box.top) / this.side)];
    const { plane } = this.current;
    return r >= 0 && c >= 0 && r < plane.rows && c < plane.cols ? plane.index(r, c) : null;
  }

  hover(event) {
    const index = this.cellUnder(event);
    if (index) this.point(index);
  }

  choose(event) {
    const index = this.cellUnder(event);
    if (index) this.app.set({ cell: index, tensor: this.current.tensor.id, at: index });
  }

  /** Explains a cell: the one under the pointer, or else the chosen one. */
  point(index) {
    const subject = this.current;
    if (!subject?.values || !this.readout) return;
    const chosen = this.app.state.cell;
    const at = index ?? (chosen?.length === subject.tensor.shape.length ? chosen : product(subject.tensor.shape) === 1 ? subject.tensor.shape.map(() => 0) : null);
    const key = String(at);
    if (key === this.pointed && this.readout.childNodes.length) return;
    this.pointed = key;
    this.readout.replaceChildren(...readoutOf(this.app, subject, at));
  }
}

const axisName = name => ({ N: 'image', C: 'channel', C_in: 'input channel', C_out: 'output channel' })[name] ?? name;

/** A share in per cent, as a bar and in digits. */
function meter(share) {
  const known = Number.isFinite(share);
  const bar = el('span', { class: 'meter', 'aria-hidden': 'true' }, el('span', {}));
  bar.firstChild.style.width = `${Math.max(0, Math.min(100, (known ? share : 0) * 100))}%`;
  return el('span', { class: 'share' }, bar, digits_('span', known ? `${brief(share * 100)} %` : '-'));
}

/** A histogram as bars, coloured as the map is. */
function histogramOf(histogram, values) {
  if (!histogram?.length) return null;
  const most = Math.max(1, ...histogram);
  const { min: low, max: high } = values.summary;
  const width = 160 / histogram.length;
  const bars = histogram.map((count, i) => {
    const middle = low + ((high - low) * (i + 0.5)) / histogram.length;
    const height = count === 0 ? 0 : Math.max(1, (36 * count) / most);
    return svg('rect', { x: (i * width).toFixed(2), y: (38 - height).toFixed(2), width: Math.max(0.5, width - 0.6).toFixed(2), height: height.toFixed(2), fill: css(colour(onScale(middle, values.reach, 'linear') * 0.8 + Math.sign(middle) * 0.2)), class: 'bin' });
  });
  return el('figure', { class: 'histogram' },
    svg('svg', { viewBox: '0 0 160 40', role: 'img', 'aria-label': `Histogram from ${brief(low)} to ${brief(high)}` }, ...bars, svg('path', { d: 'M0 38.5H160', class: 'base' })),
    el('figcaption', {}, digits_('span', brief(low)), digits_('span', brief(high))));
}
