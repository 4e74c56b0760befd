// One cell in words: its value to the last digit, and the sum that made it.

/** Terms that are written out. */
const LISTED = 6;

/** How a named value reads: `conv1.weight[0, 1, 2, 3]`. */
function factorText([tensor, kind, index]) {
  return `${kind === 'grad' ? '∂' : ''}${shortName(tensor)}${index.length ? `[${index.join(', ')}]` : ''}`;
}

/** The last parts of a long dotted name. */
const shortName = tensor => {
  const parts = tensor.name.split('.');
  return parts.length > 2 ? parts.slice(-2).join('.') : tensor.name;
};

/** What explains a view of a tensor at this step: `{op, what}` or null. */
function origin(app, { tensor, view, part }) {
  if (view === 'value') return tensor.maker ? { op: tensor.maker, what: 'output' } : null;
  const from = view === 'part' ? part : tensor.parts.length === 1 ? tensor.parts[0] : null;
  if (!from) return null;
  return { op: from.op, what: from.input ?? from.op.inputs.indexOf(tensor.id) };
}

/** The nodes of the read-out, and the cells it drew from, handed to the app to outline. */
function readoutOf(app, subject, index) {
  const { tensor, values, view } = subject;
  if (!index) {
    app.outline(null);
    return [muted('p', 'Point at a cell, or choose one with h j k l, to see what made it.')];
  }
  const x = values.at(index);
  const title = el('p', { class: 'cell' }, muted('span', indexText(tensor, index) || 'value'), el('output', { class: 'number big', id: 'cell-value' }, x === undefined ? 'not in the page' : exact(x)));
  const from = origin(app, subject);
  const made = from && explain(app.trace, from.op, from.what, index);
  app.outline(made?.terms ?? null);
  const out = [title];
  if (view !== 'value' && tensor.parts.length > 1 && view === 'grad') out.push(partsOfCell(tensor, index));
  if (!made) return out;
  if (made.words) return [...out, el('p', {}, made.words)];
  if (made.terms.length === 0) {
    out.push(muted('p', from.what === 'output' ? 'Nothing is added up here: the window lies in the padding.' : 'No output read this cell, so no gradient comes back to it.'));
    return out;
  }
  out.push(sumText(made, x), termList(made));
  return out;
}

/** A gradient's cell as a sum over its readers. */
function partsOfCell(tensor, index) {
  const rows = tensor.parts.map(part => {
    const x = part.value?.at(index);
    return el('li', {}, el('span', {}, part.op.path || part.op.op), digits_('span', x === undefined ? 'not in the page' : exact(x)));
  });
  return el('div', { class: 'terms' }, el('p', {}, `The sum of ${tensor.parts.length} contributions:`), el('ul', {}, rows));
}

function sumText(made, x) {
  const { terms, join, total, missing } = made;
  const factors = terms[0].of.length;
  const what = factors > 1 ? 'products' : 'values';
  if (join !== 'sum' && join !== 'max') return el('p', {}, join.replace('(x)', `(${brief(terms[0].factors[0])})`));
  const plain = terms.length === 1 ? 'One term' : `${join === 'max' ? 'The largest' : 'The sum'} of ${terms.length} ${terms.some(t => t.of.length !== factors) ? 'terms' : what}`;
  if (missing > 0) {
    return el('p', {}, `${plain}; the page holds ${terms.length - missing} of them, outlined where they show. (Large tensors come as slices.)`);
  }
  const gap = Math.abs(total - x);
  const close = gap <= 1e-4 * Math.max(1e-6, ...terms.map(t => Math.abs(t.product)));
  return el('p', {}, `${plain}: here in f64, `, digits_('span', brief(total, 8)),
    Number.isFinite(gap) && !close ? el('span', { class: 'bad' }, ` (${brief(gap)} from the value)`) : null);
}

function termList(made) {
  const here = made.terms.filter(term => term.product !== null);
  const listed = [...here].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, LISTED);
  if (listed.length === 0) return null;
  const most = Math.max(1e-30, ...listed.map(term => Math.abs(term.product)).filter(Number.isFinite));
  const rows = listed.map(term => {
    const bar = el('span', { class: `size ${term.product < 0 ? 'minus' : 'plus'}`, 'aria-hidden': 'true' });
    bar.style.width = `${Math.min(1, Math.abs(term.product) / most) * 36}px`;
    const names = `${term.k !== undefined && term.k !== 1 ? `${brief(term.k, 4)} · ` : ''}${term.of.map(factorText).join(' · ')}`;
    const factors = term.k !== undefined && term.k !== 1 ? [term.k, ...term.factors] : term.factors;
    const numbers = factors.map(x => brief(x, 4)).map(text => (text.startsWith('-') ? `(${text})` : text)).join(' · ');
    return el('li', {}, el('span', { class: 'names' }, names), digits_('span', `${factors.length > 1 ? `${numbers} = ` : ''}${brief(term.product, 4)}`), bar);
  });
  const more = here.length - listed.length;
  return el('div', { class: 'terms' }, el('ul', {}, rows), more > 0 ? muted('p', `and ${more} smaller`) : null);
}
