// The connection with the process that trains: what it has told, and what it is told.

import { post } from "./api.js";
import { emptyCurve } from "./feed.js";

/**
 * What is known of the present training. `parts` are the newest of each kind that the process has
 * told; `curves` has for each label and kind ("point", "epoch") arrays x and y.
 */
class Session {
  constructor() {
    this.parts = {};
    this.curves = emptyCurve();
    this.training = -1;
    this.models = {};
    this.data = {};
    this._id = null;
    this._source = null;
    this._beginning = null;
    this._last = "";
    this._listeners = new Set();
    this._lost = new Set();
    this._pending = null;
    this._isSending = false;
  }

  /**
   * Calls `told(news)` for each piece of news, and `lost()` when the session is gone. Returns what ends
   * that. When nobody watches, the process ends some time later.
   */
  watch(told, lost) {
    this._listeners.add(told);
    this._lost.add(lost);
    return () => {
      this._listeners.delete(told);
      this._lost.delete(lost);
      if (!this._listeners.size) this._close();
    };
  }

  /** Begins a session, or goes on listening to the one that there is. */
  async open() {
    if (!this._id) {
      // Views that come and go meanwhile wait for the same one.
      this._beginning ??= this._begin().finally(() => (this._beginning = null));
      await this._beginning;
    }
    if (!this._source && this._listeners.size) this._listen();
  }

  async _begin() {
    const begun = await post("/api/playground");
    this._id = begun.session;
    this.models = begun.models;
    this.data = begun.data;
    this._last = "";
  }

  _close() {
    this._source?.close();
    this._source = null;
  }

  _listen() {
    const source = new EventSource(
      `/api/playground/${this._id}/events?after=${encodeURIComponent(this._last)}`);
    this._source = source;
    source.addEventListener("news", (event) => this._take(event));
    source.addEventListener("error", () => {
      if (source.readyState !== EventSource.CLOSED || this._source !== source) return;
      // The browser has given up: the session is gone, as after a restart of the server.
      this._forget();
      for (const lost of this._lost) lost();
    });
  }

  _forget() {
    this._close();
    this._id = null;
    this._pending = null;
  }

  _take(event) {
    const news = JSON.parse(event.data);
    this._last = event.lastEventId;
    if (news.starts_anew) {
      this.parts = {};
      this.curves = emptyCurve();
    }
    const { points, starts_anew, training, ...parts } = news;
    this.training = training;
    Object.assign(this.parts, parts);
    for (const [label, kind, x, y] of points) {
      const line = (this.curves[kind][label] ??= { x: [], y: [] });
      line.x.push(x);
      line.y.push(y);
    }
    for (const told of this._listeners) told(news);
  }

  /**
   * Begins a training. While one is on its way, only the last of further ones is sent: a slider that
   * is moved asks for many. Returns the number of the training; null if a later one is on its way.
   */
  async start(order) {
    this._pending = order;
    if (this._isSending) return null;
    this._isSending = true;
    let begun = null;
    try {
      while (this._pending) {
        const next = this._pending;
        this._pending = null;
        await this.open();
        begun = await post(`/api/playground/${this._id}`, { command: "start", ...next });
      }
      return begun.training;
    } catch (error) {
      if (error.status === 404) this._forget();
      throw error;
    } finally {
      this._isSending = false;
    }
  }

  /** Whether a training is on its way, so that what is told may be of the one before. */
  get isBusy() {
    return this._isSending;
  }

  /** Tells the training something: "run", "pause", "step", "speed", "lr", "keep". */
  async order(command, value = null) {
    await post(`/api/playground/${this._id}`, { command, value });
  }
}

/** The one session of this page, which outlives the view for a while. */
export const session = new Session();
