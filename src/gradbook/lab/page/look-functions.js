// The activation functions and their derivatives, computed as PyTorch computes them
// (gradbook/experiments/activations.py). A test compares the two.

const SELU_ALPHA = 1.6732632423543772848170429916717;
const SELU_SCALE = 1.0507009873554804934193349852946;
// Beyond this, PyTorch takes softplus(x) for x itself.
const SOFTPLUS_LINEAR = 20;

function sigmoid(x) {
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}

function softplus(x) {
  return x > SOFTPLUS_LINEAR ? x : Math.log1p(Math.exp(x));
}

/** The error function to about 1e-15: a series near 0, a continued fraction for its complement beyond. */
export function erf(x) {
  const size = Math.abs(x);
  if (size < 2.5) {
    // 2 / sqrt(pi) exp(-x^2) sum over n of 2^n x^(2n + 1) / (1 3 5 ... (2n + 1)), all of one sign
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && n < 200; n += 1) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  return Math.sign(x) * (1 - erfcLarge(size));
}

// The complement for x of 2.5 and more; for negative x, 1 + erf(x) keeps its digits only this way.
function erfcLarge(x) {
  let fraction = 0;
  for (let n = 60; n > 0; n -= 1) fraction = n / 2 / (x + fraction);
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * (x + fraction));
}

function normalShare(x) {
  const z = x / Math.SQRT2;
  return z < -2.5 ? erfcLarge(-z) / 2 : (1 + erf(z)) / 2;
}

function normalDensity(x) {
  return Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
}

/** For each name, the function and its derivative; at a kink, the one that PyTorch takes. */
export const FUNCTIONS = {
  relu: [(x) => Math.max(0, x), (x) => (x > 0 ? 1 : 0)],
  sigmoid: [sigmoid, (x) => sigmoid(x) * sigmoid(-x)],
  tanh: [Math.tanh, (x) => 1 - Math.tanh(x) ** 2],
  gelu: [(x) => x * normalShare(x), (x) => normalShare(x) + x * normalDensity(x)],
  silu: [(x) => x * sigmoid(x), (x) => sigmoid(x) * (1 + x * sigmoid(-x))],
  "leaky-relu": [(x) => (x > 0 ? x : 0.01 * x), (x) => (x > 0 ? 1 : 0.01)],
  elu: [(x) => (x > 0 ? x : Math.expm1(x)), (x) => (x > 0 ? 1 : Math.exp(x))],
  selu: [(x) => SELU_SCALE * (x > 0 ? x : SELU_ALPHA * Math.expm1(x)),
    (x) => SELU_SCALE * (x > 0 ? 1 : SELU_ALPHA * Math.exp(x))],
  softplus: [softplus, (x) => (x > SOFTPLUS_LINEAR ? 1 : sigmoid(x))],
  softsign: [(x) => x / (1 + Math.abs(x)), (x) => 1 / (1 + Math.abs(x)) ** 2],
  mish: [(x) => x * Math.tanh(Math.log1p(Math.exp(x))), (x) => {
    const inner = Math.tanh(Math.log1p(Math.exp(x)));
    return inner + x * (1 - inner ** 2) * sigmoid(x);
  }],
  hardtanh: [(x) => Math.max(-1, Math.min(1, x)), (x) => (x > -1 && x < 1 ? 1 : 0)],
};

/**
 * Layers one after the other, each x -> f(weight x): by depth from 1, the value and its derivative
 * with respect to the first input.
 */
export function chain(name, x, depth, weight = 1) {
  const [f, slope] = FUNCTIONS[name];
  let value = x, derivative = 1;
  const found = [];
  for (let layer = 0; layer < depth; layer += 1) {
    const inner = weight * value;
    derivative *= weight * slope(inner);
    value = f(inner);
    found.push([value, derivative]);
  }
  return found;
}
