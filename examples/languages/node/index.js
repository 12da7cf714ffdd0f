// Words of a text, counted; the answer is a promise's.
exports.handler = async ({ text = "" }, context) => {
  const counts = new Map();
  for (const word of text.toLowerCase().match(/\p{L}+/gu) ?? []) counts.set(word, (counts.get(word) ?? 0) + 1);
  console.log("counted", counts.size, "words with", context.getRemainingTimeInMillis() > 0 ? "time left" : "no time left");
  return { node: process.version, words: Object.fromEntries([...counts].sort((a, b) => b[1] - a[1]).slice(0, 10)) };
};
