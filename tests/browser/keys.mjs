// Tests of the keys, of prediction, of the broken gradient and of what is written into the page's windows.
import assert from 'node:assert/strict';

/** The values of a plane as its table lists them, row by row; `caption` says which plane. Null if it can't be told. */
export function floatsOf(tensor, view, caption) {
  const source = tensor[view];
  const floats = text => {
    const bytes = Uint8Array.from(Buffer.from(text, 'base64'));
    return new Float32Array(bytes.buffer);
  };
  const { shape, axes } = tensor;
  if (shape.length <= 2) return source.whole === undefined ? null : [...floats(source.whole)].map(x => x);
  const at = Object.fromEntries([...caption.matchAll(/([A-Za-z_]+)=(\d+)/g)].map(([, axis, i]) => [axis, Number(i)]));
  const fixed = shape.map((_, axis) => at[axes[axis]] ?? null);
  if (fixed.filter(i => i === null).length !== 2) return null;
  const slices = source.whole !== undefined ? [{ at: shape.map(() => null), data: source.whole }] : source.slices;
  const slice = slices.find(s => s.at.every((i, axis) => i === null || i === fixed[axis]));
  if (!slice) return null;
  const data = floats(slice.data);
  const out = [];
  const free = shape.map((_, axis) => axis).filter(axis => slice.at[axis] === null);
  data.forEach((x, flat) => {
    let rest = flat;
    const index = {};
    for (const axis of [...free].reverse()) {
      index[axis] = rest % shape[axis];
      rest = Math.floor(rest / shape[axis]);
    }
    if (free.every(axis => fixed[axis] === null || fixed[axis] === index[axis])) out.push(x);
  });
  return out;
}

export function keyTests({ test, open, audit, traceOf }) {
  test('every key does what its button does', async () => {
    const page = await open('small');
    const attribute = (id, name) => page.locator(`#${id}`).getAttribute(name);
    const step = async () => Number((await page.state()).step);
    const press = key => page.keyboard.press(key);
    await press('End');
    assert.equal(await step(), traceOf('small').ops.length);
    await press('Home');
    assert.equal(await step(), 1);
    await press('ArrowRight');
    assert.equal(await step(), 2);
    await press('ArrowLeft');
    assert.equal(await step(), 1);
    await page.locator('#next').click();
    await page.locator('#next-module').click();
    await page.locator('#previous').click();
    await page.locator('#last').click();
    await page.locator('#first').click();
    assert.equal(await step(), 1);
    await press('b');
    assert.equal(await attribute('backward', 'aria-pressed'), 'true');
    await press('f');
    assert.equal(await attribute('forward', 'aria-pressed'), 'true');
    await page.locator('#main').focus();
    await press(' ');
    assert.equal(await attribute('play', 'aria-label'), 'Pause');
    await press(' ');
    assert.equal(await attribute('play', 'aria-label'), 'Play');
    await press('g');
    await page.keyboard.type('5');
    await press('Enter');
    assert.equal(await step(), 5);
    await press('Escape');
    await page.locator('#main').focus();
    await press('Home');
    await press(']');
    assert.equal(await page.locator('#at-3').inputValue(), '1');
    await press('[');
    assert.equal(await page.locator('#at-3').inputValue(), '0');
    for (const key of ['l', 'l', 'j', 'h', 'k', 'j']) await press(key);
    assert.equal((await page.state()).el, '0,1,0,0');
    assert.match(await page.locator('.readout').textContent(), /The sum of \d+ products: here in f64/);
    await press('s');
    assert.match(await page.locator('.legend button').textContent(), /map/);
    await press('c');
    assert.equal(await page.locator('#checks [aria-expanded]').getAttribute('aria-expanded'), 'true');
    await press('?');
    assert.ok(await page.locator('#keys').isVisible());
    await audit(page, 'the keys');
    await press('Escape');
    await page.locator('.rows .row').first().focus();
    await press('ArrowDown');
    await press('Enter');
    assert.equal(await step(), 2);
    await page.close_();
  });

  test('a prediction hides the step, takes an answer and reveals', async () => {
    const page = await open('small', { hash: '#pass=forward&step=2' });
    await page.keyboard.press('p');
    assert.equal(await page.locator('.choices button').count(), 2);
    assert.equal(await page.locator('.question').count(), 1);
    assert.equal(await page.locator('.inspector canvas').count(), 0);
    await audit(page, 'predict');
    await page.keyboard.press('2');
    assert.match(await page.locator('#live').textContent(), /Right/);
    assert.ok(await page.locator('.inspector canvas').count() > 0);
    await page.keyboard.press('ArrowRight');
    assert.equal(await page.locator('.choices button:not(:disabled)').count(), 4);
    await page.keyboard.press('p');
    await page.close_();
  });

  test('a wrong gradient is shown being caught, a kink is not called wrong', async () => {
    const page = await open('small');
    await page.keyboard.press('x');
    assert.match(await page.locator('.broken').textContent(), /Caught/);
    assert.equal(await page.locator('.broken tr.fail').count(), 1);
    await page.keyboard.press('c');
    assert.equal(await page.locator('#checks tr.pass').count(), 2);
    assert.equal(await page.locator('#checks tr.fail').count(), 0);
    assert.match(await page.locator('#checks tr.kink').textContent(), /at a kink/);
    await audit(page, 'broken');
    await page.close_();
  });

  test('where a tensor has several readers, its contributions add up in each cell', async () => {
    const trace = traceOf('small');
    const tensor = trace.tensors.find(t => t.name === 'relu');
    const step = trace.backward.findIndex(s => s.contributions.some(c => c.to === tensor.id));
    const page = await open('small', { hash: `#pass=backward&step=${step + 1}&tensor=relu&view=grad&el=0,2,3,1` });
    assert.equal(await page.locator('.parts li').count(), 2);
    const parts = await page.locator('.readout .terms .number').allTextContents();
    const whole = Number(await page.locator('#cell-value').textContent());
    assert.ok(Math.abs(parts.map(Number).reduce((a, b) => a + b, 0) - whole) < 1e-6);
    await page.close_();
  });

  test('every cell explained by its sum has that sum, forward and backward', async () => {
    const trace = traceOf('small');
    const page = await open('small');
    for (const [pass, steps] of [['forward', trace.ops.length], ['backward', trace.backward.length]]) {
      for (let step = 1; step <= steps; step++) {
        await page.evaluate(hash => { location.hash = hash; }, `#pass=${pass}&step=${step}`);
        await page.waitForFunction(([p, s]) => document.querySelector('#op-title').textContent.includes(`step ${s} of`) && document.body.dataset.pass === p, [pass, step]);
        await page.keyboard.press('l');
        await page.keyboard.press('l');
        assert.equal(await page.locator('.readout .bad').count(), 0, `${pass} ${step}: ${await page.locator('.readout').textContent()}`);
      }
    }
    await page.close_();
  });
}
