// Synthetic traces for the page's tests: a small network with everything the page shows, one with hostile names and numbers that
// are not, and one that is deep. `node traces.mjs DIR` writes DIR/NAME.json.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const size = shape => shape.reduce((a, b) => a * b, 1);

/** Keyed noise between -1 and 1: the same on every machine. */
function noise(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31) - 1;
  };
}

const base64 = floats => Buffer.from(new Uint8Array(Float32Array.from(floats).buffer)).toString('base64');

/** JSON has no NaN; a summary holds finite extremes or null. */
function summarise(floats) {
  const finite = [...floats].filter(Number.isFinite);
  const mean = finite.length ? finite.reduce((a, b) => a + b, 0) / finite.length : null;
  const counts = new Array(16).fill(0);
  const [min, max] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [null, null];
  for (const x of finite) counts[Math.min(15, Math.floor(((x - min) / (max - min || 1)) * 16))]++;
  return {
    min, max, mean, std: finite.length ? Math.sqrt(finite.reduce((a, b) => a + (b - mean) ** 2, 0) / finite.length) : null,
    norm: finite.length ? Math.hypot(...finite) : null, zeros: finite.filter(x => x === 0).length, nan: floats.filter(Number.isNaN).length,
    inf: floats.filter(x => Math.abs(x) === Infinity).length, histogram: min === max ? [] : counts,
  };
}

/** Beyond this many elements only some channels of an NHWC tensor are kept. */
const WHOLE = 2048;

function values(floats, shape) {
  const rounded = Array.from(Float32Array.from(floats));
  if (rounded.length <= WHOLE || shape.length !== 4) return { summary: summarise(rounded), whole: base64(rounded) };
  const [, h, w, c] = shape;
  const channels = [...new Set([0, 1, c - 1])];
  const slices = channels.map(channel => ({
    at: [0, null, null, channel], shape: [h, w],
    data: base64(Array.from({ length: h * w }, (_, i) => rounded[i * c + channel])),
  }));
  return { summary: summarise(rounded), slices };
}

/** A tape in f64. */
class Tape {
  constructor() {
    Object.assign(this, { tensors: [], ops: [], block: '' });
  }

  leaf(name, role, shape, axes, data) {
    const tensor = { id: this.tensors.length, name, role, shape, axes, data, grad: null, parts: 0 };
    this.tensors.push(tensor);
    return tensor;
  }

  op(op, name, inputs, shape, axes, data, vjp, formula, more = {}) {
    const path = this.block ? `${this.block}.${name}` : name;
    const output = this.leaf(path, 'activation', shape, axes, data);
    this.ops.push({ id: this.ops.length, op, path, block: this.block, inputs, output, vjp, formula, ...more });
    return output;
  }

  conv2d(name, x, w, { stride = 1, padding = 1 } = {}) {
    const [n, h, wd, ci] = x.shape;
    const [kh, kw, , co] = w.shape;
    const [ho, wo] = [Math.floor((h + 2 * padding - kh) / stride) + 1, Math.floor((wd + 2 * padding - kw) / stride) + 1];
    const visit = f => {
      for (let b = 0; b < n; b++) for (let oy = 0; oy < ho; oy++) for (let ox = 0; ox < wo; ox++) for (let ky = 0; ky < kh; ky++) for (let kx = 0; kx < kw; kx++) {
        const [iy, ix] = [oy * stride + ky - padding, ox * stride + kx - padding];
        if (iy < 0 || ix < 0 || iy >= h || ix >= wd) continue;
        for (let i = 0; i < ci; i++) for (let o = 0; o < co; o++) f(((b * ho + oy) * wo + ox) * co + o, ((b * h + iy) * wd + ix) * ci + i, ((ky * kw + kx) * ci + i) * co + o);
      }
    };
    const y = new Array(n * ho * wo * co).fill(0);
    visit((out, a, k) => { y[out] += x.data[a] * w.data[k]; });
    const vjp = g => {
      const [gx, gw] = [x.data.map(() => 0), w.data.map(() => 0)];
      visit((out, a, k) => {
        gx[a] += g[out] * w.data[k];
        gw[k] += g[out] * x.data[a];
      });
      return [gx, gw];
    };
    return this.op('conv2d', name, [x, w], [n, ho, wo, co], x.axes, y, vjp, ['y[n,i,j,o] = sum x * w', 'grad_x = transposed convolution', 'grad_w = correlation'], { attributes: { stride, padding, dilation: 1, groups: 1 } });
  }

  relu(name, x) {
    return this.op('relu', name, [x], x.shape, x.axes, x.data.map(v => (v > 0 ? v : Number.isNaN(v) ? v : 0)), g => [g.map((v, i) => (x.data[i] > 0 ? v : 0))], ['y = max(x, 0)', 'grad_x = grad_y * (y > 0)']);
  }

  affine(name, x, gamma, beta) {
    const c = x.shape.at(-1);
    return this.op('affine', name, [x, gamma, beta], x.shape, x.axes, x.data.map((v, i) => gamma.data[i % c] * v + beta.data[i % c]), g => {
      const [gg, gb] = [new Array(c).fill(0), new Array(c).fill(0)];
      g.forEach((v, i) => {
        gg[i % c] += v * x.data[i];
        gb[i % c] += v;
      });
      return [g.map((v, i) => v * gamma.data[i % c]), gg, gb];
    }, ['y = gamma[c] * x + beta[c]', 'grad_x = gamma * grad_y', 'grad_gamma = sum grad_y * x', 'grad_beta = sum grad_y'], { part_of: 'conv2d with batch norm and ReLU on load' });
  }

  add(name, a, b) {
    return this.op('add', name, [a, b], a.shape, a.axes, a.data.map((v, i) => v + b.data[i]), g => [g, g], ['y = a + b', 'grad_a = grad_y', 'grad_b = grad_y']);
  }

  mul(name, a, b) {
    return this.op('mul', name, [a, b], a.shape, a.axes, a.data.map((v, i) => v * b.data[i]), g => [g.map((v, i) => v * b.data[i]), g.map((v, i) => v * a.data[i])], ['y = a * b', 'grad_a = grad_y * b', 'grad_b = grad_y * a']);
  }

  pool(name, x) {
    const [n, h, w, c] = x.shape;
    const y = new Array(n * c).fill(0);
    x.data.forEach((v, i) => { y[Math.floor(i / (h * w * c)) * c + (i % c)] += v / (h * w); });
    return this.op('global_avg_pool', name, [x], [n, c], ['N', 'C'], y, g => [x.data.map((_, i) => g[Math.floor(i / (h * w * c)) * c + (i % c)] / (h * w))], ['y[n,c] = mean x', 'grad_x = grad_y / (H*W)']);
  }

  matmul(name, a, b) {
    const [m, k] = a.shape;
    const n = b.shape[1];
    const y = Array.from({ length: m * n }, (_, i) => Array.from({ length: k }, (_, t) => a.data[Math.floor(i / n) * k + t] * b.data[t * n + (i % n)]).reduce((p, q) => p + q, 0));
    const vjp = g => [
      a.data.map((_, i) => Array.from({ length: n }, (_, t) => g[Math.floor(i / k) * n + t] * b.data[(i % k) * n + t]).reduce((p, q) => p + q, 0)),
      b.data.map((_, i) => Array.from({ length: m }, (_, t) => a.data[t * k + Math.floor(i / n)] * g[t * n + (i % n)]).reduce((p, q) => p + q, 0))];
    return this.op('matmul', name, [a, b], [m, n], ['N', 'K'], y, vjp, ['Y = A * B', 'grad_A = grad_Y * transpose(B)', 'grad_B = transpose(A) * grad_Y']);
  }

  sum(name, x) {
    return this.op('sum', name, [x], [], [], [x.data.reduce((a, b) => a + b, 0)], g => [x.data.map(() => g[0])], ['y = sum(x)', 'grad_x = grad_y']);
  }

  /** The trace of the backward pass from the last op. */
  finish(more = {}) {
    const loss = this.ops.at(-1).output;
    loss.grad = [1];
    const backward = [];
    for (const op of [...this.ops].reverse()) {
      const parts = op.vjp(op.output.grad);
      const contributions = [];
      op.inputs.forEach((to, i) => {
        if (to.role === 'input' || to.role === 'constant') return;
        to.grad = to.grad ? to.grad.map((v, k) => v + parts[i][k]) : [...parts[i]];
        contributions.push({ to: to.id, input: i, value: values(parts[i], to.shape), norm: Math.hypot(...parts[i]) });
      });
      backward.push({ op: op.id, incoming: op.output.id, contributions });
    }
    const total = new Map();
    for (const part of backward.flatMap(step => step.contributions)) total.set(part.to, (total.get(part.to) ?? 0) + part.norm);
    // The only contribution to a tensor is its gradient, and is not written twice.
    const count = new Map();
    for (const part of backward.flatMap(step => step.contributions)) count.set(part.to, (count.get(part.to) ?? 0) + 1);
    for (const part of backward.flatMap(step => step.contributions)) if (count.get(part.to) === 1) part.value = null;
    for (const part of backward.flatMap(step => step.contributions)) part.share = total.get(part.to) ? part.norm / total.get(part.to) : 0;
    const ml = text => `<math display="block"><mtext>${text.replace(/&/g, '&amp;').replace(/</g, '&lt;')}</mtext></math>`;
    return {
      format: 'pleach-trace', version: 1, title: 'A synthetic step', model: 'synthetic', note: 'one image', classes: ['cat', 'dog'], loss: loss.id,
      tensors: this.tensors.map(({ id, name, role, shape, axes, data, grad }) => ({ id, name, role, shape, axes, value: values(data, shape), grad: grad ? values(grad, shape) : null })),
      ops: this.ops.map(({ id, op, path, block, inputs, output, formula, part_of = null, attributes = {} }) => ({
        id, op, path, block, inputs: inputs.map(t => t.id), output: output.id, formula: { text: formula[0], mathml: ml(formula[0]) },
        vjp: formula.slice(1).map((text, input) => ({ input, text, mathml: ml(text) })), with_shapes: `${op}: ${inputs.map(t => `(${t.shape})`).join(', ')} -> (${output.shape})`,
        attributes, part_of, x: 0, y: id, checks: [],
      })),
      backward, lesson: null, ...more,
    };
  }
}

const NHWC = ['N', 'H', 'W', 'C'];
const KERNEL = ['K_h', 'K_w', 'C_in', 'C_out'];

function filled(tape, name, role, shape, axes, random, scale = 1, shift = 0) {
  return tape.leaf(name, role, shape, axes, Array.from({ length: size(shape) }, () => Math.fround(random() * scale + shift)));
}

/** Two convolutions and a residual sum, a pooled linear layer, a sum of squares; notes, checks, a wrong gradient. */
function small() {
  const [tape, random] = [new Tape(), noise(1)];
  const x = filled(tape, 'images', 'input', [2, 8, 8, 3], NHWC, random);
  const w0 = filled(tape, 'conv1.weight', 'parameter', [3, 3, 3, 4], KERNEL, random, 0.4);
  const stem = tape.relu('relu', tape.conv2d('conv1', x, w0));
  tape.block = 'layer1.0';
  const w1 = filled(tape, 'layer1.0.conv1.weight', 'parameter', [3, 3, 4, 4], KERNEL, random, 0.4);
  const gamma = filled(tape, 'layer1.0.bn1.weight', 'parameter', [4], ['C'], random, 0.2, 1);
  const beta = filled(tape, 'layer1.0.bn1.bias', 'parameter', [4], ['C'], random, 0.2);
  const branch = tape.relu('relu', tape.affine('bn1', tape.conv2d('conv1', stem, w1), gamma, beta));
  const joined = tape.add('add', stem, branch);
  tape.block = '';
  const w2 = filled(tape, 'linear.weight', 'parameter', [4, 5], ['C_in', 'C_out'], random);
  const logits = tape.matmul('linear', tape.pool('pool', joined), w2);
  tape.sum('loss', tape.mul('squares', logits, logits));
  const trace = tape.finish();
  const w = trace.tensors[w2.id];
  const check = (entry, more = {}) => ({ tensor: w2.id, entry, analytic: w2.grad[entry[0] * 5 + entry[1]], numeric: w2.grad[entry[0] * 5 + entry[1]] * (1 + 1e-7), h: 1e-5, rel_error: 1e-7, ulp: 1, kink: false, scope: 'loss', tolerance: 1e-3, passed: true, ...more });
  const linear = trace.ops.find(op => op.op === 'matmul');
  linear.checks = [check([0, 0]), check([3, 4]), check([1, 2], { kink: true, passed: null, rel_error: 0.5, ulp: 4e6 })];
  linear.broken = { text: 'The transpose of A is left out.', tensor: w2.id, value: values(w2.grad.map(g => g * 0.5), w.shape), check: check([0, 0], { analytic: w2.grad[0] * 0.5, rel_error: 0.5, ulp: 8e6, passed: false, scope: 'op' }) };
  trace.lesson = {
    name: 'synthetic', title: 'A lesson', intro: 'What this shows.\n\nAnd `code`.',
    steps: [{ pass: 'forward', step: 1, text: 'The ReLU.', predict: { question: 'What does ReLU do to negative values?', choices: ['Keeps them', 'Makes them 0'], answer: 1 } }, { pass: 'backward', step: 0, text: 'Back from the loss.', predict: null }],
  };
  return trace;
}

/** What a name could try, and numbers that are not. */
function hostile() {
  const [tape, random] = [new Tape(), noise(2)];
  const evil = ['</script><script>window.pwned=1</script>', '<img src=x onerror="window.pwned=2">', '"><svg onload=window.pwned=3>', "';window.pwned=4//", '<!--', '\u2028%SCRIPT%', '%TRACE%', 'javascript:window.pwned=5', '__proto__'];
  let x = tape.leaf(evil[0], 'input', [3, 4], [evil[1], 'C'], [NaN, 1, -2, Infinity, -Infinity, 0, -0, 3, 1e-40, 3e38, -1, 2]);
  const one = filled(tape, evil[2], 'parameter', [1], ['C'], random);
  const empty = tape.leaf(evil[3], 'constant', [0, 4], ['N', 'C'], []);
  tape.block = evil[4];
  x = tape.relu(evil[5], x);
  const w = filled(tape, evil[6], 'parameter', [3, 4], ['N', 'C'], random);
  x = tape.mul(evil[7], x, w);
  tape.op(evil[0], evil[8], [empty], [0, 4], ['N', 'C'], [], () => [[]], [evil[0], evil[1]], { attributes: { [evil[1]]: evil[0] } });
  tape.op('scale', 'one', [one], [1], ['C'], [one.data[0] * 2], g => [[g[0] * 2]], ['y = 2x', 'grad_x = 2 grad_y'], { attributes: { factor: 2 } }).grad = [0];
  tape.ops.find(op => op.op === evil[0]).output.grad = [];
  tape.block = '';
  tape.sum(evil[1], x);
  const trace = tape.finish({ title: evil[0], model: evil[1], note: evil[2], classes: evil });
  for (const op of trace.ops) {
    op.part_of = evil[1];
    op.formula.mathml = '<math><mi href="javascript:window.pwned=6" onclick="window.pwned=7">x</mi><script>window.pwned=8</script><annotation-xml encoding="text/html"><img src="x" onerror="window.pwned=9"/></annotation-xml></math>';
  }
  trace.lesson = { name: evil[0], title: evil[1], intro: evil[0], steps: [{ pass: 'forward', step: 0, text: evil[1], predict: { question: evil[0], choices: evil.slice(0, 3), answer: 0 } }] };
  return trace;
}

/** A residual network of 110 layers in a wide tape: what matters is that it opens, folds and steps. */
function deep() {
  const [tape, random] = [new Tape(), noise(3)];
  const x = filled(tape, 'images', 'input', [1, 8, 8, 3], NHWC, random);
  let h = tape.conv2d('conv1', x, filled(tape, 'conv1.weight', 'parameter', [3, 3, 3, 4], KERNEL, random, 0.3));
  for (let stage = 1; stage <= 3; stage++) {
    for (let unit = 0; unit < 18; unit++) {
      tape.block = `layer${stage}.${unit}`;
      const weight = k => filled(tape, `${tape.block}.conv${k}.weight`, 'parameter', [3, 3, 4, 4], KERNEL, random, 0.2);
      const c = k => filled(tape, `${tape.block}.bn${k}`, 'parameter', [4], ['C'], random, 0.1, k % 2 ? 0.9 : 0);
      let z = tape.relu('relu1', tape.affine('bn1', tape.conv2d('conv1', h, weight(1)), c(1), c(2)));
      z = tape.affine('bn2', tape.conv2d('conv2', z, weight(2)), c(3), c(4));
      h = tape.relu('relu2', tape.add('add', h, z));
    }
  }
  tape.block = '';
  tape.sum('loss', tape.pool('pool', h));
  return tape.finish({ title: 'A network of 110 layers', model: 'deep' });
}

export const traces = { small, hostile, deep };

if (process.argv[2]) for (const [name, make] of Object.entries(traces)) writeFileSync(join(process.argv[2], `${name}.json`), JSON.stringify(make()));
