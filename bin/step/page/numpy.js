// The current step as NumPy: arrays with their values, then the op or its vector-Jacobian product.

/** Arrays of more elements are given by their shape alone. */
const MOST_COPIED = 4096;

const identifier = name => name.replace(/[^A-Za-z0-9_]/g, '_').replace(/^(\d)/, '_$1') || 'x';

const nameOf = tensor => identifier(tensor.role === 'parameter' ? shortName(tensor) : tensor.name.split('.').at(-1));

const literal = x => (Number.isNaN(x) ? 'np.nan' : x === Infinity ? 'np.inf' : x === -Infinity ? '-np.inf' : exact(x));

function array(name, values, tensor) {
  const shape = `(${tensor.shape.join(', ')}${tensor.shape.length === 1 ? ',' : ''})`;
  if (!values?.isWhole || product(tensor.shape) > MOST_COPIED) return `${name} = ...  # ${shape}, float32: too large to be copied from the page`;
  const floats = values.floats(values.slices[0]);
  return `${name} = np.array([${[...floats].map(literal).join(', ')}], dtype=np.float32).reshape(${shape})`;
}

/** Forward and backward lines, from the names of inputs, output and the output's gradient. */
const NUMPY = {
  conv2d: {
    forward: ([x, w, b], y, op) => [
      `s, p, d, groups = ${attribute(op, 'stride', 1)}, ${attribute(op, 'padding', 0)}, ${attribute(op, 'dilation', 1)}, ${attribute(op, 'groups', 1)}`,
      `xp = np.pad(${x}, ((0, 0), (p, p), (p, p), (0, 0)))`,
      `kh, kw, ci, co = ${w}.shape`,
      `ho, wo = (xp.shape[1] - d*(kh - 1) - 1)//s + 1, (xp.shape[2] - d*(kw - 1) - 1)//s + 1`,
      `window = lambda a, ky, kx: a[:, ky*d:ky*d + s*(ho - 1) + 1:s, kx*d:kx*d + s*(wo - 1) + 1:s]  # a view`,
      `${y} = np.zeros((xp.shape[0], ho, wo, co), np.float32)`,
      'for ky in range(kh):',
      '    for kx in range(kw):',
      '        for g in range(groups):',
      `            i, o = slice(g*ci, (g + 1)*ci), slice(g*co//groups, (g + 1)*co//groups)`,
      `            ${y}[..., o] += window(xp, ky, kx)[..., i] @ ${w}[ky, kx][:, o]`,
      ...(b ? [`${y} += ${b}`] : [])],
    backward: ([x, w, b], y, g) => [
      `grad_xp, grad_${w} = np.zeros_like(xp), np.zeros_like(${w})`,
      'for ky in range(kh):',
      '    for kx in range(kw):',
      '        for k in range(groups):',
      `            i, o = slice(k*ci, (k + 1)*ci), slice(k*co//groups, (k + 1)*co//groups)`,
      `            grad_${w}[ky, kx][:, o] = np.einsum("nhwi,nhwo->io", window(xp, ky, kx)[..., i], ${g}[..., o])`,
      `            window(grad_xp, ky, kx)[..., i] += ${g}[..., o] @ ${w}[ky, kx][:, o].T`,
      `grad_${x} = grad_xp[:, p:p + ${x}.shape[1], p:p + ${x}.shape[2]]`,
      ...(b ? [`grad_${b} = ${g}.sum((0, 1, 2))`] : [])],
  },
  matmul: { forward: ([a, b], y) => [`${y} = ${a} @ ${b}`], backward: ([a, b], y, g) => [`grad_${a} = ${g} @ ${b}.T`, `grad_${b} = ${a}.T @ ${g}`] },
  add: binary('+', ([a, b], y, g) => [[a, g], [b, g]]),
  sub: binary('-', ([a, b], y, g) => [[a, g], [b, `-${g}`]]),
  mul: binary('*', ([a, b], y, g) => [[a, `${g} * ${b}`], [b, `${g} * ${a}`]]),
  div: binary('/', ([a, b], y, g) => [[a, `${g} / ${b}`], [b, `-${g} * ${y} / ${b}`]]),
  relu: one(x => `np.maximum(${x}, 0)`, (x, y, g) => `${g} * (${y} > 0)`),
  add_scalar: { forward: ([x], y, op) => [`${y} = ${x} + ${attribute(op, 'value', 0)}`], backward: ([x], y, g) => [`grad_${x} = ${g}`] },
  relu6: one(x => `np.clip(${x}, 0, 6)`, (x, y, g) => `${g} * ((${x} > 0) & (${x} < 6))`),
  exp: one(x => `np.exp(${x})`, (x, y, g) => `${g} * ${y}`),
  log: one(x => `np.log(${x})`, (x, y, g) => `${g} / ${x}`),
  sqrt: one(x => `np.sqrt(${x})`, (x, y, g) => `${g} / (2 * ${y})`),
  tanh: one(x => `np.tanh(${x})`, (x, y, g) => `${g} * (1 - ${y}**2)`),
  sigmoid: one(x => `1 / (1 + np.exp(-${x}))`, (x, y, g) => `${g} * ${y} * (1 - ${y})`),
  sum: one(x => `${x}.sum()`, (x, y, g) => `np.full_like(${x}, ${g})`),
  transpose: one(x => `${x}.T`, (x, y, g) => `${g}.T`),
  global_avg_pool: one(x => `${x}.mean((1, 2))`, (x, y, g) => `np.broadcast_to(${g}[:, None, None] / (${x}.shape[1] * ${x}.shape[2]), ${x}.shape)`),
  log_softmax: one(x => `${x} - np.log(np.exp(${x}).sum(-1, keepdims=True))`, (x, y, g) => `${g} - np.exp(${y}) * ${g}.sum(-1, keepdims=True)`),
  reshape: { forward: ([x], y, op, out) => [`${y} = ${x}.reshape(${out.shape.join(', ')})`], backward: ([x], y, g) => [`grad_${x} = ${g}.reshape(${x}.shape)`] },
  scale: { forward: ([x], y, op) => [`${y} = ${attribute(op, 'factor', 1)} * ${x}`], backward: ([x], y, g, op) => [`grad_${x} = ${attribute(op, 'factor', 1)} * ${g}`] },
  affine: {
    forward: ([x, gamma, beta], y) => [`${y} = ${gamma} * ${x} + ${beta}`],
    backward: ([x, gamma, beta], y, g) => ['axes = tuple(range(' + g + '.ndim - 1))', `grad_${x} = ${g} * ${gamma}`, `grad_${gamma} = (${g} * ${x}).sum(axes)`, `grad_${beta} = ${g}.sum(axes)`],
  },
  standardise: {
    forward: ([x], y, op) => [`axes = tuple(range(${x}.ndim - 1))`, `sigma = np.sqrt(${x}.var(axes) + ${attribute(op, 'eps', 1e-5)})`, `${y} = (${x} - ${x}.mean(axes)) / sigma`],
    backward: ([x], y, g) => [`grad_${x} = (${g} - ${g}.mean(axes) - ${y} * (${g} * ${y}).mean(axes)) / sigma`],
  },
  scale_shift: {
    forward: ([x, a], y) => [`${y} = ${a}[0] * ${x} + ${a}[1]`],
    backward: ([x, a], y, g) => [`axes = tuple(range(${g}.ndim - 1))`, `grad_${x} = ${g} * ${a}[0]`, `grad_${a} = np.stack([(${g} * ${x}).sum(axes), ${g}.sum(axes)])`],
  },
  moments: {
    forward: ([x], y) => [`axes, M = tuple(range(${x}.ndim - 1)), ${x}.size // ${x}.shape[-1]`, `${y} = np.stack([${x}.mean(axes), ${x}.var(axes)])`],
    backward: ([x], y, g) => [`grad_${x} = ${g}[0] / M + ${g}[1] * 2 / M * (${x} - ${y}[0])`],
  },
  fold_batch_norm: {
    forward: (names, y, op) => {
      const [gamma, beta] = names.slice(-2);
      return [`mean, var = np.concatenate([${names.slice(0, -2).join(', ')}], 1)`, `sigma = np.sqrt(var + ${attribute(op, 'eps', 1e-5)})`, `scale = ${gamma} / sigma`, `${y} = np.stack([scale, ${beta} - mean * scale])`];
    },
    backward: (names, y, g) => [`t = ${g}[0] - mean * ${g}[1]`, `grad_${names.at(-2)}, grad_${names.at(-1)} = t / sigma, ${g}[1]`, `grad_moments = np.stack([-scale * ${g}[1], -scale * t / (2 * sigma**2)])`],
  },
  cross_entropy: {
    forward: ([x], y, op, out, [logits]) => [
      `labels, s = np.array(${JSON.stringify(labelsOf(op))}), ${attribute(op, 'label_smoothing', 0)}`, `target = (1 - s) * np.eye(${logits.shape[1]})[labels] + s / ${logits.shape[1]}`,
      `p = np.exp(${x} - ${x}.max(-1, keepdims=True))`, 'p /= p.sum(-1, keepdims=True)', `${y} = -(target * np.log(p)).sum() / len(p)`],
    backward: ([x], y, g) => [`grad_${x} = ${g} * (p - target) / len(p)`],
  },
  concat: {
    forward: (maps, y) => [`${y} = np.concatenate([${maps.join(', ')}], -1)`],
    backward: (maps, y, g) => [`${maps.map(map => `grad_${map}`).join(', ')}${maps.length === 1 ? ',' : ''} = np.split(${g}, np.cumsum([${maps.slice(0, -1).map(map => `${map}.shape[-1]`).join(', ')}], dtype=int), -1)`],
  },
};

function one(forward, backward) {
  return { forward: ([x], y) => [`${y} = ${forward(x)}`], backward: ([x], y, g) => [`grad_${x} = ${backward(x, y, g)}`] };
}

/** Elementwise with broadcasting: gradients are summed back to their operand's shape. */
function binary(sign, backward) {
  return {
    forward: ([a, b], y) => [`${y} = ${a} ${sign} ${b}`],
    backward: (names, y, g) => [
      'def unbroadcast(a, like):',
      '    a = a.sum(tuple(range(a.ndim - like.ndim)))',
      '    return a.sum(tuple(i for i, n in enumerate(like.shape) if n == 1), keepdims=True) if like.ndim else a',
      // An operand that is read twice gets the sum of both.
      ...backward(names, y, g).map(([name, text], i) => `grad_${name} ${i && name === names[0] ? '+=' : '='} unbroadcast(${text}, ${name})`)],
  };
}

/** The step as a script that runs wherever NumPy does. */
function numpy(app) {
  const { trace, state, op } = app;
  const inputs = op.inputs.map(id => trace.tensor(id));
  const output = trace.tensor(op.output);
  const names = inputs.map((tensor, i) => {
    const name = nameOf(tensor);
    const first = inputs.findIndex(other => nameOf(other) === name);
    return first === i || inputs[first].id === tensor.id ? name : `${name}_${i}`;
  });
  let y = nameOf(output);
  if (names.includes(y)) y += '_out';
  const code = NUMPY[op.op];
  const comment = text => `# ${String(text ?? '').replace(/[\r\n\u2028\u2029]+/g, ' ')}`;
  const lines = ['import numpy as np', '', comment(`${op.op} at ${op.path}: ${op.formula?.text ?? ''}`)];
  const written = new Set();
  names.forEach((name, i) => {
    if (!written.has(name)) lines.push(array(name, inputs[i].value, inputs[i]));
    written.add(name);
  });
  lines.push('', ...(code ? code.forward(names, y, op, output, inputs) : [array(y, output.value, output)]));
  if (state.pass === 'backward') {
    const g = `grad_${y}`;
    lines.push('', ...op.vjp.map(vjp => comment(vjp.text)), array(g, output.grad, output), ...(code ? code.backward(names, y, g, op) : []));
  }
  return `${lines.join('\n')}\n`;
}
