// The current op: its formula, what goes in and comes out, and, backward, the gradient that arrives and what it becomes.

class OpPanel {
  constructor(app) {
    this.app = app;
    this.host = byId('op');
    this.inspector = new Inspector(app);
    this.cards = [];
  }

  render() {
    const { trace, state } = this.app;
    const op = this.app.op;
    if (!op) {
      this.host.replaceChildren(el('p', { class: 'card veil' }, 'This trace holds no steps of this pass.'));
      return;
    }
    const backward = state.pass === 'backward';
    this.cards = [];
    const step = backward ? trace.backward[state.step] : null;
    const cards = [this.heading(op), this.app.predict.card(), this.formulas(op, step), this.flow(op, step), this.inspector.host,
      breakCard(this.app, op), checkCard(this.app, op), normChart(this.app), trace.leftOut && muted('p', trace.leftOut)];
    this.host.replaceChildren(...cards.filter(Boolean));
    this.inspector.render();
  }

  heading(op) {
    const parts = op.path.split('.');
    const crumbs = parts.flatMap((part, i) => (i ? [el('span', { class: 'sep', 'aria-hidden': 'true' }, '›'), part] : [part]));
    const { trace, state } = this.app;
    return el('header', { class: 'heading' },
      el('p', { class: 'crumbs' }, crumbs),
      el('h2', { id: 'op-title' }, op.op, el('span', { class: 'step muted' }, ` step ${state.step + 1} of ${trace.steps(state.pass).length}, ${state.pass}`)),
      op.part_of ? el('p', { class: 'tag' }, `part of ${op.part_of}`, difference(trace.fused.get(op.fused))) : null);
  }

  formulas(op, step) {
    const forward = el('div', { class: step ? 'formula small' : 'formula' }, el('h3', {}, 'Forward'), math(op.formula));
    const shapes = op.with_shapes ? el('p', { class: 'shapes' }, op.with_shapes) : null;
    if (!step) return el('section', { class: 'card formulas', 'aria-label': 'Formula' }, forward, shapes);
    const seen = new Set();
    const products = op.vjp.map(vjp => {
      const key = vjp.mathml ?? vjp.text;
      if (seen.has(key)) return null;
      seen.add(key);
      return el('div', { class: 'formula' }, seen.size === 1 ? el('h3', {}, 'Backward (vector-Jacobian product)') : null, math(vjp));
    });
    return el('section', { class: 'card formulas', 'aria-label': 'Formulas' }, products, forward, shapes);
  }

  /** Inputs to output, or arriving gradient to contributions. */
  flow(op, step) {
    const { trace } = this.app;
    const arrow = el('div', { class: 'arrow', 'aria-hidden': 'true' }, svg('svg', { viewBox: '0 0 24 24' }, svg('path', { d: 'M4 12h14M12 5l7 7-7 7' })));
    const output = trace.tensor(op.output);
    if (!step) {
      const inputs = op.inputs.map((id, i) => this.tile(trace.tensor(id), 'value', { label: 'in', key: `in-${i}` }));
      return el('section', { class: 'flow', 'aria-label': 'Inputs and output' }, el('div', { class: 'tiles' }, inputs), arrow, el('div', { class: 'tiles' }, this.tile(output, 'value', { label: 'out', key: 'out' })));
    }
    const incoming = trace.tensor(step.incoming) ?? output;
    const parts = step.parts.map((part, i) => this.tile(part.to, 'part', { label: 'gradient of', key: `to-${i}`, part }));
    return el('section', { class: 'flow', 'aria-label': 'Gradients' },
      el('div', { class: 'tiles' }, this.tile(incoming, 'grad', { label: 'arriving at', key: 'arriving' })), arrow,
      el('div', { class: 'tiles' }, parts.length ? parts : muted('p', 'No input of this op wants a gradient.')));
  }

  /** A tensor as a small card that chooses it. */
  tile(tensor, view, { label, key, part }) {
    if (!tensor) return null;
    const { state } = this.app;
    const values = valuesOf(tensor, view, part);
    const chosen = this.app.isChosen(tensor, view, part);
    const hidden = this.app.hidden(tensor, view);
    const at = settle(tensor, values, state.tensor === tensor.id ? state.at : this.app.shared(tensor));
    const plane = new Plane(tensor, values, at);
    const canvas = el('canvas', { 'aria-hidden': 'true' });
    const single = product(tensor.shape) === 1;
    const empty = product(tensor.shape) === 0;
    const place = el('span', { class: 'muted place' });
    const redraw = (marks, shown = plane) => {
      const { rest } = shown.axes;
      place.textContent = rest.filter(axis => tensor.shape[axis] > 1).map(axis => `${tensor.axes[axis] ?? axis} ${shown.base[axis]}`).join(', ');
      drawHeat(canvas, shown, { reach: values?.reach ?? 0, scale: SCALES[state.scale].name, room: 112, most: 40, digits: true, marks });
      shrink(canvas, 160);
    };
    let picture = canvas;
    if (hidden) picture = el('span', { class: 'question', 'aria-hidden': 'true' }, '?');
    else if (empty) picture = muted('span', 'empty');
    else if (single && plane.here) picture = el('span', { class: 'number big' }, brief(plane.at(0, 0), 5));
    else if (!plane.here) picture = muted('span', 'summary only');
    if (picture === canvas) {
      redraw([]);
      this.cards.push({ tensor, view, values, plane, redraw });
    }
    const summary = values?.summary ?? {};
    const odd = (summary.nan ?? 0) + (summary.inf ?? 0);
    const range = hidden || single || !values ? null : el('span', { class: 'number range' }, `${brief(summary.min)} to ${brief(summary.max)}`);
    const used = view === 'part' && tensor.parts.length > 1
      ? el('span', { class: 'used' }, `${tensor.parts.indexOf(part) + 1} of ${tensor.parts.length} contributions`, meter(part.share)) : null;
    return el('button', { type: 'button', class: `tile card ${tensor.role}`, 'aria-pressed': String(chosen), key: `tensor-${key}`, onclick: () => this.app.choose(tensor, view, part) },
      el('span', { class: 'label' }, label), el('span', { class: 'title' }, tensor.name), el('span', { class: 'muted shape' }, shapeText(tensor)),
      el('span', { class: 'picture' }, picture), picture === canvas ? place : null, range, odd && !hidden ? el('span', { class: 'odd' }, el('span', { class: 'swatch', 'aria-hidden': 'true' }), `${summary.nan ?? 0} NaN, ${summary.inf ?? 0} Inf`) : null, used);
  }

  /** Outlines, on the small maps and the large one, the cells that an explanation named. */
  outline(terms) {
    const named = new Map();
    for (const term of terms ?? []) {
      for (const [tensor, kind, index] of term.of) {
        const key = `${tensor.id}/${kind}`;
        if (!named.has(key)) named.set(key, []);
        named.get(key).push(index);
      }
    }
    for (const card of this.cards) {
      const indices = named.get(`${card.tensor.id}/${card.view}`) ?? [];
      const marksIn = plane => unique(indices.map(index => plane.cell(index)).filter(Boolean));
      let { plane } = card;
      let marks = marksIn(plane);
      if (marks.length === 0 && indices.length > 0) {
        // The cells lie in another channel: show that one meanwhile.
        plane = new Plane(card.tensor, card.values, settle(card.tensor, card.values, indices[0]));
        marks = plane.here ? marksIn(plane) : [];
      }
      if (marks.length === 0 && !card.marked) continue;
      card.marked = marks.length > 0;
      card.redraw(marks, card.marked ? plane : card.plane);
    }
  }
}

/** How far the plain ops shown are from the fused one that ran. */
const difference = fused => {
  if (!Number.isFinite(fused?.max_difference)) return '';
  return fused.max_difference === 0 ? ': the same numbers, bit for bit' : `: the same but for rounding, ${brief(fused.max_difference, 2)} of the largest value`;
};

/** Cells without repeats. */
const unique = cells => [...new Map(cells.map(cell => [cell.join(), cell])).values()];
