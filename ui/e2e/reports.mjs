// Made-up reports for what a small store cannot show: many nodes, known changes.
import { flameArrow, makeProfile } from '../dev/profile.mjs';

/** Every request for a flame graph is answered with `report`. */
export const answerFlame = (page, report) =>
  page.route(
    (url) => url.pathname.endsWith('/api/profiles/query') && url.searchParams.get('report_type') === 'REPORT_TYPE_FLAMEGRAPH_ARROW',
    (route) => route.fulfill({
      status: 200,
      contentType: 'application/vnd.apache.arrow.stream',
      headers: { 'x-decima-total': String(report.total), 'x-decima-unit': 'nanoseconds' },
      body: report.body,
    }),
  );

let large;
/** About 200,000 nodes, all sent. */
export function largeFlame() {
  if (!large) {
    const profile = makeProfile(200_000);
    large = { total: profile.total, body: Buffer.from(flameArrow(profile, { threshold: 0, maxNodes: 1e9, focus: [] }).bytes) };
  }
  return large;
}

/** A function that grew, one that shrank, one that stayed. */
export function comparedFlame() {
  const nodes = [['', -1, 300, 290], ['grown', 0, 100, 20], ['shrunk', 0, 100, 170], ['same', 0, 100, 100]].map(([name, parent, cumulative, before], row) => ({
    name, parent, cumulative, before, flat: row ? cumulative : 0, flatBefore: row ? before : 0, children: row ? [] : [1, 2, 3], binary: null, file: null, line: 0, address: 0n,
  }));
  const profile = { nodes, total: 300 };
  return { total: 300, body: Buffer.from(flameArrow(profile, { threshold: 0, maxNodes: 100, focus: [], compares: true }).bytes) };
}
