// The overview's shape before its figures: nothing jumps when they come.

export function OverviewSkeleton() {
  return (
    <div class="overview pending" role="status" data-testid="loading">
      <span class="visually-hidden">Loading</span>
      <div class="bone" style={{ height: "58px" }} aria-hidden="true" />
      <div class="tiles fleet" aria-hidden="true">
        {Array.from({ length: 7 }, (_, i) => (
          <div class={`tile ${i === 1 ? "double" : ""}`} key={i}>
            <span class="bone" style={{ width: "55%", height: "12px" }} />
            <span class="bone" style={{ width: "75%", height: "22px" }} />
            <span class="bone" style={{ height: "34px" }} />
          </div>
        ))}
      </div>
      <div class="overview-hour" aria-hidden="true">
        <div class="bone" style={{ height: "286px" }} />
        <div class="bone" style={{ height: "286px" }} />
      </div>
      <div class="bone" style={{ height: "420px" }} aria-hidden="true" />
    </div>
  );
}
