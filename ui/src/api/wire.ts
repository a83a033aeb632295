/** The JSON of the server's REST gateway, as far as the page reads it. 64-bit integers are strings. */

export interface ProfileType {
  name: string;
  sampleType: string;
  sampleUnit: string;
  periodType: string;
  periodUnit: string;
  delta: boolean;
}

export interface Label {
  name: string;
  value: string;
}

export interface Target {
  discoveredLabels: { labels: Label[] } | null;
  labels: { labels: Label[] } | null;
  lastError: string;
  lastScrape: string | null;
  lastScrapeDuration: string | null;
  url: string;
  health: string;
}

export interface TargetsAnswer {
  targets: Record<string, { targets: Target[] }>;
}

/** One element of a query's `filter`, in the JSON spelling of Parca's Filter message. */
export type WireFilter = Record<string, unknown>;
