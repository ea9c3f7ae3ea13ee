// What of one list is not in another.

// Where a quote stands: the same place in the same document is the same quote.
export const placeOf = (quote) => `${quote.document_id} ${quote.start_char_index} ${quote.end_char_index}`;

const MOST = 4_000_000; // steps of the comparison in order; beyond it, whether it is there at all must do

// Those of `here` that `there` lacks by their `key`. With `inOrder`, all of `here` in runs, [text, whether it is lacking], so that
// what is said twice, or elsewhere, is told apart: the longest common subsequence is what both have.
export function onlyHere(here, there, key, inOrder = false) {
  const [one, two] = [here.map(key), there.map(key)];
  if (!inOrder) {
    const others = new Set(two);
    return here.filter((_, place) => !others.has(one[place]));
  }
  const trimmed = (word) => word.replace(/[^\p{L}\p{N}]+$/u, "") || word;
  const common = one.length * two.length > MOST ? null : commonOf(one.map(trimmed), two.map(trimmed));
  const others = new Set(two.map(trimmed));
  const runs = [];
  one.forEach((word, place) => {
    const lacking = common ? !common.has(place) : !others.has(trimmed(word));
    if (runs.at(-1)?.[1] === lacking) runs.at(-1)[0] += word;
    else runs.push([word, lacking]);
  });
  return runs;
}

// Places in `one` that belong to the longest common subsequence.
function commonOf(one, two) {
  const lengths = Array.from({ length: one.length + 1 }, () => new Uint32Array(two.length + 1));
  for (let i = one.length - 1; i >= 0; i -= 1) {
    for (let j = two.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = one[i] === two[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const common = new Set();
  for (let i = 0, j = 0; i < one.length && j < two.length;) {
    if (one[i] === two[j]) { common.add(i); i += 1; j += 1; }
    else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
    else j += 1;
  }
  return common;
}
