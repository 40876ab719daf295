// Names of songs and takes, and what is deleted and comes back. App is made of it.

import {api} from "./api.js";
import {View} from "./view.js";

export class Named extends View {
  undos = new Map();  // what says that something was deleted, by its id in the bin

  async nameSong(id, title) {
    if (id !== this.id) { await api.prepare(id, {title}); return; }
    this.change({title});
    await this.flush();
  }
  nameTake(name, step, title) { this.change({takes: {...this.desk.takes, [`${step} ${name}`]: title}}); }

  async throwSong({id, title}) {
    if (id === this.id) await this.flush();
    this.throwing = id;
    const {bin} = await api.remove(id).finally(() => { this.throwing = null; });
    if (id === this.id) { this.id = null; await this.open(null); }
    this.sayDeleted(bin, `“${title}” is deleted`, true);
    return true;
  }
  async throwTake(name, step) {
    await this.flush();
    const {bin} = await api.removeTake(this.id, step, name);
    this.sayDeleted(bin, `a take of ${this.called(name)} is deleted`);
  }
  /** Says that something is in the bin, with a way back as long as it is there. */
  sayDeleted(thing, words, open = false) {
    this.undos.set(thing, this.jobs.say(words, true, () => this.doing(() => this.restore(thing, open))));
  }
  async restore(thing, open = false) {
    const {song} = await api.restore(thing);
    this.undos.get(thing)?.remove();
    if (open) await this.open(song);
  }

  /** The lanes without those that nothing was done to, where a stem of their type is brought. */
  untaken(types) {
    const plain = lane => !this.song?.stems[lane.name] && !lane.words && !lane.activity && !lane.label && !lane.locked;
    return this.desk.lanes.filter(lane => {
      const place = plain(lane) ? types.indexOf(lane.type) : -1;
      if (place >= 0) types.splice(place, 1);
      return place < 0;
    });
  }

  /** Stems that were left out of the song, each with its last take that has its length. */
  leftOut() {
    const found = new Map(), {song} = this;
    for (const [k, step] of (song?.steps ?? []).entries()) {
      for (const name of Object.keys(step.made)) if (step.seconds === song.seconds && !step.gone.includes(name) && !this.laneOf(name)) found.set(name, k);
    }
    return found;
  }

  /** Another page has deleted a song. */
  hearGone(id) {
    if (id !== this.id || id === this.throwing) return;
    this.id = null;
    this.open(null);
    this.jobs.say("this song was deleted; the list of songs can bring it back", true);
  }
}
