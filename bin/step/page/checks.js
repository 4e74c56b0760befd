// Finite differences in f64 beside the gradients, and the wrong gradient that they catch.

/** 'pass', 'fail' or 'kink'. */
function verdict(check) {
  if (check.kink) return 'kink';
  return check.passed ? 'pass' : 'fail';
}

const VERDICTS = {
  pass: ['✓', 'agrees'],
  fail: ['✗', 'differs'],
  kink: ['∧', 'at a kink'],
};

const number = x => (x === null || x === undefined ? '-' : typeof x === 'string' ? x : brief(x, 7));

function checkTable(app, checks, caption) {
  const columns = ['Entry', 'Of', 'Gradient (f32)', 'Difference (f64)', 'h', 'Relative error', 'ULP', 'Verdict'];
  const rows = checks.map(check => {
    const tensor = app.trace.tensor(check.tensor);
    const index = check.entry;
    const result = verdict(check);
    const place = index.length ? `${shortName(tensor)}[${index.join(', ')}]` : shortName(tensor);
    return el('tr', { class: result },
      el('th', { scope: 'row' }, button(place, () => app.set({ tensor: tensor.id, view: 'grad', at: index, cell: index }), { class: 'linkish', title: tensor.name })),
      el('td', {}, check.scope === 'op' ? 'this op' : 'the loss'), [check.analytic, check.numeric, check.h].map(x => el('td', {}, number(x))),
      el('td', {}, brief(check.rel_error, 3)), el('td', {}, check.ulp === undefined || check.ulp === null ? '-' : brief(check.ulp, 4)),
      el('td', { class: 'verdict' }, el('span', { 'aria-hidden': 'true' }, VERDICTS[result][0]), ` ${VERDICTS[result][1]}`));
  });
  return el('div', { class: 'scroller', tabindex: '0', role: 'region', 'aria-label': caption },
    el('table', { class: 'checks' }, el('caption', { class: 'vh' }, caption), el('thead', {}, el('tr', {}, columns.map(name => el('th', { scope: 'col' }, name)))), el('tbody', {}, rows)));
}

/** The checked entries of an op's inputs. */
function checkCard(app, op) {
  if (app.predict.veiled) return null;
  const card = el('section', { class: 'card check', id: 'checks', tabindex: '-1', 'aria-labelledby': 'check-title' });
  const open = app.state.checks;
  card.append(el('header', {}, el('h3', { id: 'check-title' }, 'Check by finite differences'),
    button(open ? 'Hide' : 'Show', () => app.set({ checks: !open }), { 'aria-expanded': String(open), 'aria-keyshortcuts': 'c', title: 'Finite differences (c)', key: 'checks' })));
  if (!op.checks.length) {
    card.append(muted('p', 'The page holds no checked entry of this op; `pleach step` checks any entry in the terminal.'.replaceAll('`', '')));
    return card;
  }
  const counts = { pass: 0, fail: 0, kink: 0 };
  for (const check of op.checks) counts[verdict(check)]++;
  const worst = op.checks.filter(check => verdict(check) !== 'kink').reduce((most, check) => Math.max(most, Number(check.rel_error)), 0);
  const words = [counts.pass && `${counts.pass} agree`, counts.fail && `${counts.fail} differ`, counts.kink && `${counts.kink} at a kink`].filter(Boolean).join(', ');
  card.append(el('p', { class: counts.fail ? 'bad' : 'good' }, `${words}; worst relative error ${brief(worst, 2)}.`));
  if (open) {
    card.append(muted('p', 'Computed again in f64 with one entry moved by ±h: (f(x + h) − f(x − h)) / 2h, where f is the loss, or this op weighted by the gradient that arrives. What a ReLU lets through and where a maximum lies is held as it was in this step, so that both sides lie on one smooth piece. An op that does not say what it chose may have a kink between them: then no difference can agree.'),
      checkTable(app, op.checks, `Finite differences of ${op.path}`));
  }
  return card;
}

/** "Break it": a gradient with a mistake, and the check that finds it. */
function breakCard(app, op) {
  if (!app.state.broken) return null;
  const { broken } = op;
  const card = el('section', { class: 'card broken', 'aria-labelledby': 'broken-title' }, el('h3', { id: 'broken-title' }, 'Broken on purpose'));
  if (!broken) {
    const near = app.trace.ops.filter(other => other.broken);
    const next = near.find(other => other.place > op.place) ?? near[0];
    card.append(el('p', {}, 'This op has no wrong gradient to show. ', next ? button(`Go to ${next.path} (${next.op})`, () => app.goOp(next, 'backward'), { class: 'linkish' }) : null));
    return card;
  }
  const tensor = app.trace.tensor(broken.tensor);
  card.append(el('p', {}, broken.text));
  const wrong = new Values(broken.value, tensor.shape);
  const part = tensor.parts.find(p => p.op === op && (broken.input ?? p.input) === p.input);
  const right = part ? valuesOf(tensor, 'part', part) : tensor.grad;
  const reach = Math.max(wrong.reach, right?.reach ?? 0);
  const at = settle(tensor, wrong, app.shared(tensor));
  const picture = (values, name) => {
    const plane = new Plane(tensor, values, at);
    if (!plane.here) return null;
    const canvas = el('canvas', { role: 'img', 'aria-label': describe(plane, name) });
    drawHeat(canvas, plane, { reach, room: 150, most: 44, digits: true });
    return el('figure', {}, canvas, el('figcaption', {}, name));
  };
  const pictures = [right ? picture(right, 'Right gradient') : null, picture(wrong, 'Wrong gradient')].filter(Boolean);
  card.append(pictures.length ? el('div', { class: 'pair' }, pictures) : muted('p', 'The page holds the summaries of these gradients alone; the entry that is most wrong is below.'));
  const caught = verdict(broken.check) === 'fail';
  card.append(el('p', { class: caught ? 'bad' : 'muted' }, caught ? '✗ Caught: the finite difference disagrees with it.' : 'This entry does not show the mistake.'),
    checkTable(app, [broken.check], 'The failing check'));
  return card;
}

/** Gradient norms along the backward pass, on a logarithmic axis. */
function normChart(app) {
  const { trace, state } = app;
  if (state.pass !== 'backward' || trace.backward.length < 4 || app.predict.veiled) return null;
  const norms = app.norms ??= trace.backward.map(step => trace.tensor(step.incoming)?.grad?.norm);
  const known = norms.filter(x => x > 0 && Number.isFinite(x)).map(Math.log10);
  if (known.length < 2) return null;
  const [low, high] = [Math.floor(known.reduce((a, b) => Math.min(a, b))), Math.ceil(known.reduce((a, b) => Math.max(a, b)) + 1e-9)];
  const [width, height, left, bottom] = [Math.max(280, app.width - 100), 170, 50, 22];
  const x = i => left + ((width - left - 10) * i) / Math.max(1, norms.length - 1);
  const y = log => 8 + ((height - bottom - 8) * (high - log)) / Math.max(1, high - low);
  const lines = [];
  const every_ = Math.max(1, Math.ceil((high - low) / 5));
  for (let log = low; log <= high; log += every_) {
    lines.push(svg('path', { d: `M${left} ${y(log)}H${width - 10}`, class: 'rule' }), svg('text', { x: left - 6, y: y(log) + 4, class: 'tick', 'text-anchor': 'end' }, Math.abs(log) <= 3 ? String(Number(`1e${log}`)) : `1e${log}`));
  }
  const reached = norms.slice(0, state.step + 1);
  const path = list => list.map((norm, i) => (norm > 0 && Number.isFinite(norm) ? `${x(i).toFixed(1)} ${y(Math.log10(norm)).toFixed(1)}` : null)).filter(Boolean);
  const now = norms[state.step];
  const chart = svg('svg', {
    viewBox: `0 0 ${width} ${height}`, class: 'norms', role: 'img', 'aria-label': `Gradient norm at each of ${norms.length} backward steps; here ${brief(now)}`,
    onclick: event => {
      const box = chart.getBoundingClientRect();
      const at = (((event.clientX - box.left) / box.width) * width - left) / (width - left - 10);
      app.go('backward', Math.round(at * (norms.length - 1)));
    },
  }, ...lines, svg('path', { d: `M${path(norms).join('L')}`, class: 'ahead' }), svg('path', { d: `M${path(reached).join('L')}`, class: 'line' }),
  ...(now > 0 && Number.isFinite(now) ? [svg('circle', { cx: x(state.step), cy: y(Math.log10(now)), r: 5, class: 'here' })] : []),
  svg('text', { x: left, y: height - 4, class: 'tick' }, 'loss'), svg('text', { x: width - 10, y: height - 4, class: 'tick', 'text-anchor': 'end' }, 'input'));
  return el('section', { class: 'card', 'aria-labelledby': 'norms-title' },
    el('header', {}, el('h3', { id: 'norms-title' }, 'Gradient norm, from the loss back'), digits_('p', brief(now, 4))), chart);
}
