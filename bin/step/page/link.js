// The address of a step: `#pass=backward&step=12&tensor=conv1.weight&view=grad&ch=3&el=0,3,1,1`. Steps count from 1.

/** State to the part of the address after `#`. */
function toHash(app) {
  const { state, trace } = app;
  const parts = [`pass=${state.pass}`, `step=${state.step + 1}`];
  const tensor = trace.tensor(state.tensor);
  if (tensor && (state.picked || state.cell)) {
    parts.push(`tensor=${encodeURIComponent(trace.reference(tensor))}`, `view=${state.view}`);
    const { rest } = viewAxes(tensor);
    if (rest.length) parts.push(`ch=${state.at[rest.at(-1)] ?? 0}`);
    if (rest.length > 1) parts.push(`at=${rest.slice(0, -1).map(axis => state.at[axis] ?? 0).join(',')}`);
    if (state.cell) parts.push(`el=${state.cell.join(',')}`);
  }
  return `#${parts.join('&')}`;
}

/** The address to a change of state; what it gets wrong is left out. */
function fromHash(trace, hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ''));
  const change = {};
  const pass = given.get('pass') ?? 'forward';
  change.pass = pass.startsWith('b') && trace.backward.length ? 'backward' : 'forward';
  const count = trace.steps(change.pass).length;
  const step = Number.parseInt(given.get('step') ?? '1', 10);
  change.step = Math.max(0, Math.min(count - 1, Number.isFinite(step) ? step - 1 : 0));
  const name = given.get('tensor');
  const tensor = name === null ? undefined : trace.referred(name);
  if (!tensor) return change;
  const integers = key => (given.get(key) ?? '').split(',').filter(Boolean).map(Number).filter(Number.isInteger);
  const at = tensor.shape.map(() => 0);
  const { rest } = viewAxes(tensor);
  const channel = integers('ch')[0];
  if (rest.length && channel !== undefined) at[rest.at(-1)] = channel;
  integers('at').forEach((i, place) => {
    if (place < rest.length - 1) at[rest[place]] = i;
  });
  const cell = integers('el');
  const fits = cell.length === tensor.shape.length && cell.every((i, axis) => i >= 0 && i < tensor.shape[axis]) && cell.length > 0;
  if (fits) rest.forEach(axis => { at[axis] = cell[axis]; });
  return { ...change, tensor: tensor.id, picked: true, view: ['value', 'grad', 'part'].includes(given.get('view')) ? given.get('view') : undefined, at, cell: fits ? cell : null };
}
