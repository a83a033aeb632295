/** The JSON of the server's REST gateway, as far as the page reads it. 64-bit integers are strings. */

/** How forwarding goes; numbers are numbers here. */
export interface ForwardingAnswer {
  address: string;
  remoteGood: boolean | null;
  spoolBytes: number;
  spoolBytesMax: number;
  spoolRequests: number;
  spoolOldestMs: number | null;
  forwardedRequests: number;
  droppedRequests: Record<string, number>;
  objectFiles: {
    waiting: number;
    bytes: number;
    bytesMax: number;
    forwarded: number;
    notWanted: number;
    dropped: Record<string, number>;
  };
}

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

/** One way by which a job finds targets. */
export interface Discovery {
  kind: string;
  subject: string;
  targets: string;
  lastSuccess: string | null;
  lastError: string;
  failures: string;
}

export interface Job {
  name: string;
  good: string;
  bad: string;
  unknown: string;
  dropped: string;
  leftOut: string;
  error: string;
  discoveries: Discovery[];
}

export interface JobsAnswer {
  jobs: Job[];
}

/** What became of a sender's requests over one way in. */
export interface SenderCounts {
  protocol: string;
  acceptedRequests: string;
  samples: string;
  rejectedSamples: string;
  repairedStrings: string;
  refused: { reason: string; requests: string }[];
}

export interface Sender {
  node: string;
  address: string;
  lastError: string;
  lastPush: string | null;
  lastPushDuration: string | null;
  counts: SenderCounts[];
}

export interface SendersAnswer {
  senders: Sender[];
  total: string;
}

/** One element of a query's `filter`, in the JSON spelling of Parca's Filter message. */
export type WireFilter = Record<string, unknown>;
