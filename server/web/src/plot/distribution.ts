// A base-2 exponential histogram as bars: buckets of equal factors, joined where there are more than fit.

export interface Distribution {
  count: number;
  low: number[]; // lower bound of each bucket, ascending; buckets without a value are left out
  high: number[]; // upper bound
  counts: number[];
}

export interface DistributionBar {
  low: number;
  high: number;
  count: number;
  share: number; // of all, 0..1
}

/** At most `most` bars of equal width on a logarithmic axis. A bucket counts where its middle lies. */
export function barsOf(of: Distribution, most: number): DistributionBar[] {
  const first = of.low.find((low) => low > 0);
  const last = of.high[of.high.length - 1];
  if (of.count === 0 || first === undefined || last === undefined) return [];
  // A bucket is the finest there is: bars narrower than one would stand with gaps between them.
  const finest = Math.min(...of.low.map((low, i) => (low > 0 ? Math.log2(of.high[i]! / low) : Infinity)));
  const octaves = Math.log2(last / first);
  const per = Math.max(1, Math.ceil(octaves / finest / most - 1e-9));
  const width = per * finest;
  const n = Math.max(1, Math.ceil(octaves / width - 1e-6));
  const counts = new Array<number>(n).fill(0);
  of.counts.forEach((count, i) => {
    const low = Math.max(of.low[i]!, first); // what took no time at all counts with the fastest
    const middle = Math.sqrt(low * of.high[i]!);
    const at = Math.floor(Math.log2(middle / first) / width);
    counts[Math.min(n - 1, Math.max(0, at))]! += count;
  });
  return counts.map((count, i) => ({
    low: first * 2 ** (i * width),
    high: first * 2 ** ((i + 1) * width),
    count,
    share: count / of.count,
  }));
}

/** Where a value lies on the axis of these bars, 0..1; null where it is outside. */
export function placeOn(bars: readonly DistributionBar[], value: number | null): number | null {
  const [low, high] = [bars[0]?.low, bars[bars.length - 1]?.high];
  if (value === null || low === undefined || high === undefined || value <= 0) return null;
  const at = Math.log(value / low) / Math.log(high / low);
  return at < -0.001 || at > 1.001 ? null : Math.min(1, Math.max(0, at));
}
