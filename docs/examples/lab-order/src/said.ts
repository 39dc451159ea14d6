/** What a Bot has done. An object, because a server answers `$execute` with JSON. */
export interface Said {
  said: string;
}

/** Says it to whoever called the Bot, and to the record of its run. */
export function say(said: string): Said {
  console.log(said);
  return { said };
}
