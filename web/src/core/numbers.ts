// Numbers as Python rounds and prints them, so that messages and decisions are the same on both sides.

/** Round to the nearest whole number, a tie to the even one, as Python's `round`. */
export function roundHalfEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** Round to so many decimals, as Python's `round(value, decimals)`: by the exact decimal value of the number. */
export function roundTo(value: number, decimals: number): number {
  if (!Number.isFinite(value)) return value;
  const rounded = Number(value.toFixed(decimals)); // toFixed is exact, but takes ties upwards
  const scaled = value * 10 ** decimals;
  const isExact = Math.abs(scaled) < 2 ** 52 && Number.isInteger(value * 2 ** (decimals + 1)); // as every tie is
  const isTie = isExact && Math.abs(scaled % 1) === 0.5;
  return isTie ? roundHalfEven(scaled) / 10 ** decimals : rounded;
}

/** Return the nearest whole number to a ratio of two lengths; a tie, up to rounding of the lengths, is even. */
export function nearestWhole(ratio: number): number {
  return roundHalfEven(roundTo(ratio, 3));
}

/** Print as Python's `format(value, ".{digits}g")`. */
export function general(value: number, digits = 6): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const [mantissa, exponentText] = value.toExponential(digits - 1).split("e") as [string, string];
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= digits) {
    const sign = exponent < 0 ? "-" : "+";
    return `${withoutZeros(mantissa)}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  return withoutZeros(value.toFixed(Math.max(0, digits - 1 - exponent)));
}

function withoutZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Print as Python prints a float. */
export function asFloat(value: number): string {
  return Number.isInteger(value) ? value.toFixed(1) : String(value);
}

/** Print a whole number with commas between thousands. */
export function thousands(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: 0 });
}

/** Interpolate between sorted numbers as NumPy does: quantile q of n lies at place q * (n - 1). */
export function quantileOfSorted(sorted: ArrayLike<number>, quantile: number): number {
  const place = quantile * (sorted.length - 1);
  const below = Math.min(Math.floor(place), sorted.length - 1);
  const above = Math.min(below + 1, sorted.length - 1);
  const rest = place - below;
  const low = sorted[below]!;
  const high = sorted[above]!;
  const width = high - low;
  return rest >= 0.5 ? high - width * (1 - rest) : low + width * rest;
}

/** Return evenly spaced whole places from 0 to length - 1, at most `most`, as NumPy's linspace rounds them. */
export function evenlySpaced(length: number, most: number): number[] {
  const count = Math.min(length, most);
  if (count === 1) return [0];
  const step = (length - 1) / (count - 1);
  const places = Array.from({ length: count }, (_, number) => roundHalfEven(number * step));
  places[count - 1] = length - 1;
  return places;
}
