// The one stream of events: the list of runs, and the values of the runs that are looked at.
//
// Each event has an id that says all that the page knows by then. When the stream is cut off, by the
// server, by a sleeping laptop or because the page was hidden, the next one is asked for what comes
// after it.

/** The values of one run: for each kind ("point", "epoch") and label, arrays x and y. */
/** Labels may be any texts: without a prototype, "constructor" is one as others are. */
export function emptyCurve() {
  return { point: Object.create(null), epoch: Object.create(null), damage: null };
}

class Feed {
  constructor() {
    this.runs = new Map(); // the summaries by id
    this.error = null; // why the folder of the runs cannot be read
    this.isLoaded = false;
    this._curves = new Map(); // what is known of each run that is looked at
    this._watchers = new Map(); // who looks at a run
    this._listeners = new Set(); // who looks at the list
    this._connection = [];
    this._source = null;
    this._last = "";
    this._pending = null;
  }

  /** Opens the stream, and closes it while the page is hidden: browsers allow few of them. */
  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this._close() : this._open()));
    window.addEventListener("pagehide", () => this._close());
    window.addEventListener("pageshow", () => this._open());
    this._open();
  }

  /** Calls `told(isConnected)` when the server is lost or found. */
  onConnection(told) {
    this._connection.push(told);
  }

  /** Calls `told()` now, if the list is there, and whenever it changes. Returns what ends that. */
  watchRuns(told) {
    this._listeners.add(told);
    if (this.isLoaded) told();
    return () => this._listeners.delete(told);
  }

  /**
   * Calls `told(curve, news)` whenever a run has new values: all that are known, and the event with
   * what was added. Returns what ends that.
   */
  watchCurve(run, told) {
    if (!this._watchers.has(run)) {
      this._watchers.set(run, new Set());
      this._curves.set(run, emptyCurve());
      this._reopen();
    } else if (Object.keys(this._curves.get(run).point).length) {
      told(this._curves.get(run), null);
    }
    this._watchers.get(run).add(told);
    return () => {
      const watchers = this._watchers.get(run);
      watchers?.delete(told);
      if (watchers && watchers.size === 0) {
        this._watchers.delete(run);
        this._curves.delete(run);
        this._forget(run);
        this._reopen();
      }
    };
  }

  _forget(run) {
    try {
      const last = JSON.parse(this._last);
      delete last.curves[run];
      this._last = JSON.stringify(last);
    } catch {
      this._last = "";
    }
  }

  _reopen() {
    clearTimeout(this._pending);
    // What is asked for in one go is asked for once.
    this._pending = setTimeout(() => {
      this._close();
      this._open();
    }, 0);
  }

  _close() {
    this._source?.close();
    this._source = null;
  }

  _open() {
    if (this._source || document.hidden) return;
    const query = new URLSearchParams({ curves: [...this._watchers.keys()].join(","), after: this._last });
    const source = new EventSource(`/api/events?${query}`);
    this._source = source;
    source.addEventListener("open", () => this._tellConnection(true));
    source.addEventListener("error", () => {
      this._tellConnection(false);
      if (source.readyState === EventSource.CLOSED && this._source === source) {
        // The browser has given up, as it does when the server refuses.
        this._source = null;
        setTimeout(() => this._open(), 2000);
      }
    });
    source.addEventListener("runs", (event) => this._takeRuns(event));
    source.addEventListener("curve", (event) => this._takeCurve(event));
  }

  _tellConnection(isConnected) {
    for (const told of this._connection) told(isConnected);
  }

  _takeRuns(event) {
    const news = JSON.parse(event.data);
    this._last = event.lastEventId;
    if (news.starts_anew) this.runs.clear();
    for (const run of news.runs) this.runs.set(run.id, run);
    for (const id of news.gone) this.runs.delete(id);
    this.error = news.error;
    this.isLoaded = true;
    for (const told of this._listeners) told();
  }

  _takeCurve(event) {
    const news = JSON.parse(event.data);
    this._last = event.lastEventId;
    if (!this._curves.has(news.run)) return;
    let curve = this._curves.get(news.run);
    if (news.starts_anew) {
      curve = emptyCurve();
      this._curves.set(news.run, curve);
    }
    curve.damage = news.damage;
    for (const kind of ["point", "epoch"]) {
      for (const [label, added] of Object.entries(news[kind])) {
        const line = (curve[kind][label] ??= { x: [], y: [], num: 0 });
        for (const x of added.x) line.x.push(x);
        for (const y of added.y) line.y.push(y);
        line.num += added.num;
      }
    }
    for (const told of this._watchers.get(news.run) ?? []) told(curve, news);
  }
}

export const feed = new Feed();
