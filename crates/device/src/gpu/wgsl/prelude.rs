//! Functions that every shader has: elementary functions by the CPU device's own polynomials (`cpu/tape/math.rs`), so
//! that devices agree where WGSL leaves an error of many units in the last place; NaN kept by `max` and `min`; casts that
//! saturate; Philox. A NaN is told by its bits, as compilers may assume that there is none.

/// The functions. They use `r.zero`, a word that is 0 but not for the compiler.
pub const FUNCTIONS: &str = r"
fn nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn max_(a: f32, b: f32) -> f32 { return select(select(max(a, b), b, nan(b)), a, nan(a)); }
fn min_(a: f32, b: f32) -> f32 { return select(select(min(a, b), b, nan(b)), a, nan(a)); }
fn sqrt_(x: f32) -> f32 { return select(sqrt(x), bitcast<f32>(r.zero | 0x7fc00000u), x < 0.0); }
fn power2(k: i32) -> f32 { return bitcast<f32>(u32(k + 127) << 23u); }
fn exp_(x: f32) -> f32 {
  if (nan(x)) { return x; }
  let c = clamp(x, -104.0, 89.0);
  let n = floor(c * 1.44269504 + 0.5);
  let s = fma(n, 2.1219444e-4, fma(n, -0.693359375, c));
  var p = fma(1.9875691e-4, s, 1.3981999e-3);
  p = fma(p, s, 8.333452e-3);
  p = fma(p, s, 4.1665796e-2);
  p = fma(p, s, 1.6666665e-1);
  p = fma(p, s, 0.5);
  p = fma(p, s * s, s) + 1.0;
  let k = i32(n);
  let half = k >> 1u;
  return p * power2(half) * power2(k - half);
}
fn log_(x: f32) -> f32 {
  let bits = bitcast<i32>(x);
  let shifted = bits - 0x3f3504f3;
  let e = f32(shifted >> 23u);
  let m = bitcast<f32>((shifted & 0x007fffff) + 0x3f3504f3);
  let f = m - 1.0;
  let z = f * f;
  var p = fma(7.0376836e-2, f, -1.151461e-1);
  p = fma(p, f, 1.1676999e-1);
  p = fma(p, f, -1.2420141e-1);
  p = fma(p, f, 1.4249323e-1);
  p = fma(p, f, -1.6668057e-1);
  p = fma(p, f, 2.0000715e-1);
  p = fma(p, f, -2.4999994e-1);
  p = fma(p, f, 3.333333e-1);
  var y = fma(p * z, f, e * -2.1219444e-4);
  y = fma(z, -0.5, y);
  y = fma(e, 0.693359375, f + y);
  y = select(y, x, bitcast<u32>(x) == 0x7f800000u);
  y = select(y, bitcast<f32>(r.zero | 0xff800000u), x < 1.17549435e-38);
  y = select(y, bitcast<f32>(r.zero | 0x7fc00000u), x < 0.0);
  return select(y, x, nan(x));
}
fn with_sign(a: f32, x: f32) -> f32 {
  return bitcast<f32>((bitcast<u32>(a) & 0x7fffffffu) | (bitcast<u32>(x) & 0x80000000u));
}
fn tanh_(x: f32) -> f32 {
  if (nan(x)) { return x; }
  let a = abs(x);
  let z = x * x;
  var p = fma(-5.7049887e-3, z, 2.063909e-2);
  p = fma(p, z, -5.3739715e-2);
  p = fma(p, z, 1.3331442e-1);
  p = fma(p, z, -3.333328e-1);
  let near = fma(p * z, x, x);
  let far = with_sign(1.0 - 2.0 / (exp_(min(a + a, 88.0)) + 1.0), x);
  return select(far, near, a < 0.625);
}
fn sigmoid_(x: f32) -> f32 { return 1.0 / (1.0 + exp_(-x)); }
fn erf_(x: f32) -> f32 {
  if (nan(x)) { return x; }
  let a = abs(x);
  let t = min(a, 4.0);
  let s = t * t;
  var f = fma(-1.7285347e-5, t, 3.8319713e-4);
  let u = fma(-3.8839644e-3, t, 2.4254622e-2);
  f = fma(f, s, u);
  f = fma(f, t, -1.0677788e-1);
  f = fma(f, t, -6.348467e-1);
  f = fma(f, t, -1.2871751e-1);
  f = fma(f, t, -t);
  let far = with_sign(1.0 - exp_(f), x);
  var n = fma(-5.967617e-4, s, 4.9911942e-3);
  n = fma(n, s, -2.6768135e-2);
  n = fma(n, s, 1.12819925e-1);
  n = fma(n, s, -3.7612534e-1);
  n = fma(n, s, 1.2837917e-1);
  return select(fma(n, x, x), far, a > 0.9277344);
}
// Quarter turns taken off in three parts, each exact in products with small integers (Cody and Waite).
fn cos_(x: f32) -> f32 {
  let n = floor(x * 0.636619772 + 0.5);
  let s = fma(n, -7.549789948768648e-8, fma(n, -4.837512969970703e-4, fma(n, -1.5703125, x)));
  let z = s * s;
  var p = fma(-1.9515296e-4, z, 8.3321609e-3);
  p = fma(p, z, -1.6666655e-1);
  let sine = fma(p * z, s, s);
  var c = fma(2.4433157e-5, z, -1.3887316e-3);
  c = fma(c, z, 4.1666646e-2);
  let cosine = fma(c * z, z, fma(z, -0.5, 1.0));
  let quarter = i32(n) & 3;
  let value = select(cosine, sine, (quarter & 1) == 1);
  return select(value, -value, quarter == 1 || quarter == 2);
}
fn pow_(x: f32, y: f32) -> f32 {
  if (y == 0.0 || x == 1.0) { return 1.0; }
  if (x == 0.0) { return select(bitcast<f32>(r.zero | 0x7f800000u), 0.0, y > 0.0); }
  let m = exp_(y * log_(abs(x)));
  if (x > 0.0 || nan(x)) { return m; }
  let whole = floor(y) == y;
  let odd = abs(y) < 16777216.0 && floor(y * 0.5) * 2.0 != y;
  return select(bitcast<f32>(r.zero | 0x7fc00000u), select(m, -m, odd), whole);
}
fn to_i32(x: f32) -> i32 {
  if (nan(x)) { return 0; }
  if (x >= 2147483648.0) { return 2147483647; }
  if (x <= -2147483648.0) { return -2147483647 - 1; }
  return i32(x);
}
fn to_u32(x: f32) -> u32 {
  if (nan(x) || x <= 0.0) { return 0u; }
  if (x >= 4294967296.0) { return 4294967295u; }
  return u32(x);
}
fn to_bf16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  return select((bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u, (bits >> 16u) | 0x40u, nan(x));
}
fn to_f16(x: f32) -> u32 {
  let bits = bitcast<u32>(x);
  let sign = (bits >> 16u) & 0x8000u;
  let size = bits & 0x7fffffffu;
  let normal = (size + 0xfffu + ((size >> 13u) & 1u) - 0x38000000u) >> 13u;
  let small = bitcast<u32>(bitcast<f32>(size) + 0.5) - 0x3f000000u;
  let finite = min(select(normal, small, size < 0x38800000u), 0x7c00u);
  return sign | select(finite, 0x7e00u, size > 0x7f800000u);
}
fn from_f16(x: u32) -> f32 {
  let size = x & 0x7fffu;
  let wide = (size << 13u) + select(0x38000000u, 0x70000000u, size >= 0x7c00u);
  let small = bitcast<u32>(f32(size) * (1.0 / 16777216.0));
  return bitcast<f32>(((x & 0x8000u) << 16u) | select(wide, small, size < 0x400u));
}
fn multiply(a: u32, b: u32) -> vec2<u32> {
  let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
  let low = al * bl;
  let middle = ah * bl + (low >> 16u);
  let cross = al * bh + (middle & 0xffffu);
  return vec2<u32>(ah * bh + (middle >> 16u) + (cross >> 16u), a * b);
}
fn random(seed_low: u32, seed_high: u32, stream: u32, step: u32, element: u32) -> f32 {
  var c = vec4<u32>(element >> 2u, step, stream, 0u);
  var k = vec2<u32>(seed_low, seed_high);
  for (var i = 0; i < 10; i++) {
    let p = multiply(0xd2511f53u, c.x);
    let q = multiply(0xcd9e8d57u, c.z);
    c = vec4<u32>(q.x ^ c.y ^ k.x, q.y, p.x ^ c.w ^ k.y, p.y);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return f32(c[element & 3u] >> 8u) * (1.0 / 16777216.0);
}
";

/// What shaders with 16-bit floats in shared memory have besides. Bits are moved, not numbers: a conversion may round to either
/// side and lose what is small.
pub const HALVES: &str = r"
fn half(bits: u32) -> f16 { return bitcast<f16>(u16(bits)); }
";
