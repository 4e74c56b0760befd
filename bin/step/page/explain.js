// Where one cell comes from: the terms that are added up (or compared) to make it, for the ops whose rule is simple.
// A term is `{k, of: [[tensor, 'value' | 'grad', index], ..]}`: a coefficient times the values named.

/** More terms than this are not listed. */
const MOST_TERMS = 20000;

const attribute = (op, name, otherwise) => {
  const value = op.attributes?.[name];
  return value === undefined || value === null ? otherwise : Number(value);
};

/** Index of an operand under broadcasting. */
const broadcast = (index, shape) => shape.map((extent, axis) => (extent === 1 ? 0 : index[index.length - shape.length + axis]));

/** Every index of a shape that agrees with `fixed` where that is not null. */
function* every(shape, fixed = shape.map(() => null)) {
  if (product(shape) === 0) return;
  const index = fixed.map(at => at ?? 0);
  for (;;) {
    yield [...index];
    let axis = shape.length - 1;
    while (axis >= 0) {
      if (fixed[axis] === null && ++index[axis] < shape[axis]) break;
      if (fixed[axis] === null) index[axis] = 0;
      axis--;
    }
    if (axis < 0) return;
  }
}

/** Indices of a gradient's entries that broadcasting summed into entry `index` of an operand. */
function* spread(index, shape, outShape) {
  const shift = outShape.length - shape.length;
  yield* every(outShape, outShape.map((_, axis) => (axis < shift || shape[axis - shift] === 1 ? null : index[axis - shift])));
}

/** The right classes. */
const labelsOf = op => [op.attributes.labels].flatMap(labels => (typeof labels === 'string' ? JSON.parse(labels) : labels));

/** Terms that are single values. */
function* everyValue(x, fixed) {
  for (const at of every(x.shape, fixed)) yield { of: [[x, 'value', at]] };
}

/** Softmax of a row of logits, in f64. */
function softmax(x, n) {
  const row = Array.from({ length: x.shape[1] }, (_, k) => x.value?.at([n, k]) ?? NaN);
  const most = Math.max(...row);
  const powers = row.map(v => Math.exp(v - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map(v => v / sum);
}

/** The sizes of a convolution. */
function conv(op, x, w) {
  const [stride, padding, dilation] = ['stride', 'padding', 'dilation'].map((name, i) => attribute(op, name, i === 1 ? 0 : 1));
  const groups = attribute(op, 'groups', 1);
  const [kh, kw, perGroup, cOut] = w.shape;
  return { stride, padding, dilation, kh, kw, perGroup, outGroup: cOut / groups, height: x.shape[1], width: x.shape[2] };
}

/** Where a pooling window reads. */
function* windowCells(op, x, [n, oy, ox, c]) {
  const [size, stride, padding] = window_(op);
  for (let ky = 0; ky < size; ky++) {
    for (let kx = 0; kx < size; kx++) {
      const [h, w] = [oy * stride + ky - padding, ox * stride + kx - padding];
      if (h >= 0 && w >= 0 && h < x.shape[1] && w < x.shape[2]) yield [n, h, w, c];
    }
  }
}

const window_ = op => ['kernel_size', 'stride', 'padding'].map(name => attribute(op, name, 0));

/** Output cells whose window holds an input cell. */
function* windowsOver(op, x, y, index) {
  for (const out of every(y.shape, [index[0], null, null, index[3]])) {
    for (const cell of windowCells(op, x, out)) {
      if (cell[1] === index[1] && cell[2] === index[2]) yield out;
    }
  }
}

const poolCount = (op, x, out) => (String(op.attributes.count_include_pad) === 'true' ? window_(op)[0] ** 2 : [...windowCells(op, x, out)].length);

/** Derivatives of elementwise functions, from the input and the output. */
const DERIVATIVES = {
  relu: x => (x > 0 ? 1 : 0),
  relu6: x => (x > 0 && x < 6 ? 1 : 0),
  exp: (x, y) => y,
  log: x => 1 / x,
  sqrt: (x, y) => 0.5 / y,
  tanh: (x, y) => 1 - y * y,
  sigmoid: (x, y) => y * (1 - y),
  add_scalar: () => 1,
};

/** How each op makes an output cell: `forward(op, tensors, index)`, and a gradient cell: `backward(op, tensors, input, index)`. */
const RULES = {
  conv2d: {
    * forward(op, [x, w, bias], [n, oy, ox, o]) {
      const s = conv(op, x, w);
      const from = Math.floor(o / s.outGroup) * s.perGroup;
      for (let ky = 0; ky < s.kh; ky++) {
        for (let kx = 0; kx < s.kw; kx++) {
          const [h, v] = [oy * s.stride + ky * s.dilation - s.padding, ox * s.stride + kx * s.dilation - s.padding];
          if (h < 0 || v < 0 || h >= s.height || v >= s.width) continue;
          for (let i = 0; i < s.perGroup; i++) yield { of: [[x, 'value', [n, h, v, from + i]], [w, 'value', [ky, kx, i, o]]] };
        }
      }
      if (bias?.shape.length === 1) yield { of: [[bias, 'value', [o]]] };
      else if (bias) yield { of: [[bias, 'value', [n, oy, ox, o]]] };
    },
    * backward(op, [x, w, bias], input, index, y) {
      const s = conv(op, x, w);
      const [, outH, outW] = y.shape;
      if (input === 0) {
        const [n, h, v, i] = index;
        const group = Math.floor(i / s.perGroup);
        for (let ky = 0; ky < s.kh; ky++) {
          for (let kx = 0; kx < s.kw; kx++) {
            const [oy, ox] = [(h + s.padding - ky * s.dilation) / s.stride, (v + s.padding - kx * s.dilation) / s.stride];
            if (!Number.isInteger(oy) || !Number.isInteger(ox) || oy < 0 || ox < 0 || oy >= outH || ox >= outW) continue;
            for (let o = group * s.outGroup; o < (group + 1) * s.outGroup; o++) {
              yield { of: [[y, 'grad', [n, oy, ox, o]], [w, 'value', [ky, kx, i % s.perGroup, o]]] };
            }
          }
        }
      } else if (input === 1) {
        const [ky, kx, i, o] = index;
        const channel = Math.floor(o / s.outGroup) * s.perGroup + i;
        for (const [n, oy, ox] of every([y.shape[0], outH, outW])) {
          const [h, v] = [oy * s.stride + ky * s.dilation - s.padding, ox * s.stride + kx * s.dilation - s.padding];
          if (h < 0 || v < 0 || h >= s.height || v >= s.width) continue;
          yield { of: [[y, 'grad', [n, oy, ox, o]], [x, 'value', [n, h, v, channel]]] };
        }
      } else if (bias.shape.length === 1) {
        for (const at of every(y.shape, [null, null, null, index[0]])) yield { of: [[y, 'grad', at]] };
      } else {
        yield { of: [[y, 'grad', index]] };
      }
    },
  },
  matmul: {
    * forward(op, [a, b], [i, j]) {
      for (let k = 0; k < a.shape[1]; k++) yield { of: [[a, 'value', [i, k]], [b, 'value', [k, j]]] };
    },
    * backward(op, [a, b], input, [i, j], y) {
      if (input === 0) for (let k = 0; k < b.shape[1]; k++) yield { of: [[y, 'grad', [i, k]], [b, 'value', [j, k]]] };
      else for (let n = 0; n < a.shape[0]; n++) yield { of: [[a, 'value', [n, i]], [y, 'grad', [n, j]]] };
    },
  },
  add: sumOf(() => 1),
  sub: sumOf(input => (input === 0 ? 1 : -1)),
  mul: {
    * forward(op, [a, b], index) {
      yield { of: [[a, 'value', broadcast(index, a.shape)], [b, 'value', broadcast(index, b.shape)]] };
    },
    * backward(op, inputs, input, index, y) {
      const other = inputs[1 - input];
      for (const at of spread(index, inputs[input].shape, y.shape)) yield { of: [[y, 'grad', at], [other, 'value', broadcast(at, other.shape)]] };
    },
  },
  affine: {
    * forward(op, [x, gamma, beta], index) {
      const c = [index.at(-1)];
      yield { of: [[gamma, 'value', c], [x, 'value', index]] };
      if (beta) yield { of: [[beta, 'value', c]] };
    },
    * backward(op, [x, gamma], input, index, y) {
      if (input === 0) yield { of: [[y, 'grad', index], [gamma, 'value', [index.at(-1)]]] };
      else for (const at of every(y.shape, y.shape.map((_, axis) => (axis === y.shape.length - 1 ? index[0] : null)))) {
        yield { of: input === 1 ? [[y, 'grad', at], [x, 'value', at]] : [[y, 'grad', at]] };
      }
    },
  },
  scale: {
    * forward(op, [x], index) {
      yield { k: attribute(op, 'factor', 1), of: [[x, 'value', index]] };
    },
    * backward(op, inputs, input, index, y) {
      yield { k: attribute(op, 'factor', 1), of: [[y, 'grad', index]] };
    },
  },
  max_pool2d: {
    join: 'max',
    * forward(op, [x], index) {
      for (const cell of windowCells(op, x, index)) yield { of: [[x, 'value', cell]] };
    },
    * backward(op, [x], input, index, y) {
      for (const out of windowsOver(op, x, y, index)) {
        const cells = [...windowCells(op, x, out)];
        const values = cells.map(cell => x.value?.at(cell));
        const best = values.indexOf(Math.max(...values));
        yield { k: best >= 0 && cells[best].every((at, axis) => at === index[axis]) ? 1 : 0, of: [[y, 'grad', out]] };
      }
    },
  },
  avg_pool2d: {
    * forward(op, [x], index) {
      for (const cell of windowCells(op, x, index)) yield { k: 1 / poolCount(op, x, index), of: [[x, 'value', cell]] };
    },
    * backward(op, [x], input, index, y) {
      for (const out of windowsOver(op, x, y, index)) yield { k: 1 / poolCount(op, x, out), of: [[y, 'grad', out]] };
    },
  },
  global_avg_pool: {
    * forward(op, [x], [n, c]) {
      for (const at of every(x.shape, [n, null, null, c])) yield { k: 1 / (x.shape[1] * x.shape[2]), of: [[x, 'value', at]] };
    },
    * backward(op, [x], input, [n, , , c], y) {
      yield { k: 1 / (x.shape[1] * x.shape[2]), of: [[y, 'grad', [n, c]]] };
    },
  },
  sum: {
    * forward(op, [x]) {
      yield* everyValue(x);
    },
    * backward(op, inputs, input, index, y) {
      yield { of: [[y, 'grad', y.shape.map(() => 0)]] };
    },
  },
  sum_axis: {
    * forward(op, [x], index) {
      const axis = attribute(op, 'axis', 0);
      const kept = index.length === x.shape.length;
      yield* everyValue(x, x.shape.map((_, a) => (a === axis ? null : index[kept || a < axis ? a : a - 1])));
    },
    * backward(op, [x], input, index, y) {
      const axis = attribute(op, 'axis', 0);
      const kept = y.shape.length === x.shape.length;
      yield { of: [[y, 'grad', kept ? index.map((i, a) => (a === axis ? 0 : i)) : index.filter((_, a) => a !== axis)]] };
    },
  },
  scale_shift: {
    * forward(op, [x, a], index) {
      const c = index.at(-1);
      yield { of: [[a, 'value', [0, c]], [x, 'value', index]] };
      yield { of: [[a, 'value', [1, c]]] };
    },
    * backward(op, [x, a], input, index, y) {
      if (input === 0) yield { of: [[y, 'grad', index], [a, 'value', [0, index.at(-1)]]] };
      else for (const at of every(y.shape, y.shape.map((_, axis) => (axis === y.shape.length - 1 ? index[1] : null)))) {
        yield { of: index[0] === 0 ? [[y, 'grad', at], [x, 'value', at]] : [[y, 'grad', at]] };
      }
    },
  },
  cross_entropy: {
    words(op, [x], what, index, y) {
      const labels = labelsOf(op);
      const [rows, classes] = x.shape;
      const smooth = attribute(op, 'label_smoothing', 0);
      const target = (n, k) => (k === labels[n] ? 1 - smooth : 0) + smooth / classes;
      const p = n => softmax(x, n);
      if (what !== 'output') {
        const [n, k] = index;
        return `grad_output ${brief(y.grad?.at(y.shape.map(() => 0)))} · (softmax ${brief(p(n)[k], 4)} − target ${brief(target(n, k))}) / ${rows}`;
      }
      const losses = labels.map((_, n) => -p(n).reduce((sum, q, k) => sum + (target(n, k) && target(n, k) * Math.log(q)), 0));
      return `The mean over ${rows} of −log(probability of the right class): ${losses.slice(0, 8).map(l => brief(l, 4)).join(', ')}${rows > 8 ? ', ...' : ''}`;
    },
  },
  log_softmax: {
    words(op, [x], what, index, y) {
      const [n, k] = index;
      if (index.length !== 2) return null;
      if (what === 'output') return `${brief(x.value?.at(index), 4)} − log of the sum of the exponentials of row ${n}: log(${brief(softmax(x, n)[k], 4)})`;
      const row = softmax(x, n).map((_, j) => y.grad?.at([n, j]) ?? 0);
      return `grad_output ${brief(row[k], 4)} − softmax ${brief(softmax(x, n)[k], 4)} · sum of grad_output in the row ${brief(row.reduce((a, b) => a + b, 0), 4)}`;
    },
  },
  moments: {
    words(op, [x], what, index, y) {
      const c = what === 'output' ? index[1] : index.at(-1);
      const [mean, variance] = [0, 1].map(i => y.value?.at([i, c]));
      const rows = attribute(op, 'M', product(x.shape.slice(0, -1)));
      if (what === 'output') return index[0] === 0 ? `The mean of the ${rows} values of channel ${c}` : `The mean of (x − ${brief(mean)})² over the ${rows} values of channel ${c}`;
      const [gm, gv] = [0, 1].map(i => y.grad?.at([i, c]));
      return `grad_mean ${brief(gm)} / ${rows} + grad_var ${brief(gv)} · 2 / ${rows} · (x ${brief(x.value?.at(index))} − mean ${brief(mean)}); the variance is ${brief(variance)}`;
    },
  },
  transpose: moves(([i, j]) => [j, i], ([i, j]) => [j, i]),
  reshape: moves((index, op, x, y) => unflatten(flatten(index, y.shape), x.shape), (index, op, x, y) => unflatten(flatten(index, x.shape), y.shape)),
  subsample2d: moves(
    ([n, h, w, c], op) => [n, h * attribute(op, 'stride', 2), w * attribute(op, 'stride', 2), c],
    ([n, h, w, c], op) => [n, h / attribute(op, 'stride', 2), w / attribute(op, 'stride', 2), c]),
  slice_channels: moves((index, op) => index.with(-1, index.at(-1) + attribute(op, 'start', 0)), (index, op) => index.with(-1, index.at(-1) - attribute(op, 'start', 0))),
  shuffle_channels: moves(
    (index, op, x) => index.with(-1, shuffled(index.at(-1), attribute(op, 'groups', 1), x.shape.at(-1) / attribute(op, 'groups', 1))),
    (index, op, x) => index.with(-1, shuffled(index.at(-1), x.shape.at(-1) / attribute(op, 'groups', 1), attribute(op, 'groups', 1)))),
  concat: {
    * forward(op, maps, index) {
      let start = 0;
      for (const map of maps) {
        const c = index.at(-1) - start;
        if (c < map.shape.at(-1)) return void (yield { of: [[map, 'value', index.with(-1, c)]] });
        start += map.shape.at(-1);
      }
    },
    * backward(op, maps, input, index, y) {
      const start = maps.slice(0, input).reduce((sum, map) => sum + map.shape.at(-1), 0);
      yield { of: [[y, 'grad', index.with(-1, start + index.at(-1))]] };
    },
  },
};

for (const [name, derivative] of Object.entries(DERIVATIVES)) {
  RULES[name] = {
    join: `${name}(x)`,
    * forward(op, [x], index) {
      yield { of: [[x, 'value', index]] };
    },
    * backward(op, [x], input, index, y) {
      yield { k: derivative(x.value?.at(index), y.value?.at(index)), of: [[y, 'grad', index]] };
    },
  };
}

/** An elementwise sum with signs. */
function sumOf(sign) {
  return {
    * forward(op, inputs, index) {
      for (const [i, x] of inputs.entries()) yield { k: sign(i), of: [[x, 'value', broadcast(index, x.shape)]] };
    },
    * backward(op, inputs, input, index, y) {
      for (const at of spread(index, inputs[input].shape, y.shape)) yield { k: sign(input), of: [[y, 'grad', at]] };
    },
  };
}

/** An op that only moves values: `from` leads from an output's index to the input's, `to` back, both to nowhere if out of range. */
function moves(from, to) {
  const inside = (index, shape) => index.every((i, axis) => Number.isInteger(i) && i >= 0 && i < shape[axis]);
  return {
    * forward(op, [x], index, y) {
      const at = from(index, op, x, y);
      if (inside(at, x.shape)) yield { of: [[x, 'value', at]] };
    },
    * backward(op, [x], input, index, y) {
      const at = to(index, op, x, y);
      if (inside(at, y.shape)) yield { of: [[y, 'grad', at]] };
    },
  };
}

/** Channel `j * rows + i` of a shuffle came from `i * columns + j`. */
const shuffled = (c, rows, columns) => (c % rows) * columns + Math.floor(c / rows);

const flatten = (index, shape) => index.reduce((sum, at, axis) => sum * shape[axis] + at, 0);

function unflatten(flat, shape) {
  const index = new Array(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flat % shape[axis];
    flat = Math.floor(flat / shape[axis]);
  }
  return index;
}

/**
 * The terms behind one cell. `what` is 'output', or the position of the input whose gradient the cell is in.
 * @returns `{terms, join, total, missing}`, each term with its `product`; null where the page knows no rule
 */
function explain(trace, op, what, index) {
  const rule = RULES[op.op];
  const inputs = op.inputs.map(id => trace.tensor(id));
  const y = trace.tensor(op.output);
  if (!rule || inputs.some(x => !x) || !y) return null;
  if (rule.words) {
    const words = rule.words(op, inputs, what, index, y);
    return words && { words, terms: [] };
  }
  const terms = [];
  let missing = 0;
  const made = what === 'output' ? rule.forward(op, inputs, index, y) : rule.backward(op, inputs, what, index, y);
  for (const term of made) {
    if (terms.length >= MOST_TERMS) return null;
    const factors = term.of.map(([tensor, kind, at]) => tensor[kind]?.at(at));
    const whole = factors.every(x => x !== undefined);
    if (!whole) missing++;
    terms.push({ ...term, factors, product: whole ? (term.k ?? 1) * product(factors) : null });
  }
  const join = what === 'output' ? rule.join ?? 'sum' : 'sum';
  const products = terms.map(term => term.product ?? 0);
  const total = join === 'max' ? Math.max(...products) : join === 'sum' ? products.reduce((a, b) => a + b, 0) : null;
  return { terms, join, total: missing === 0 ? total : null, partial: total, missing };
}
