#!/usr/bin/env bash
# It learns: a character-level GPT from scratch on tiny Shakespeare with nanoGPT's published recipe for a CPU (examples/char_gpt.yaml), which
# reaches a validation loss of about 1.88. Prints a Markdown table; fails when the loss on the last tenth of the text is above 1.90.
# usage: char_gpt.sh OUT [FLAG...]    (OUT: new folder for text and model; FLAGs go to sluice train, such as --host-memory 400MiB)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
sluice=${SLUICE:-$here/../build/release/bin/sluice}
out=$1
shift
mkdir -p "$out"
cat "$here/../examples/data/shakespeare-train.txt" "$here/../examples/data/shakespeare-held-out.txt" >"$out/tiny-shakespeare.txt"

"$sluice" train --config "$here/../examples/char_gpt.yaml" --data "$out/tiny-shakespeare.txt" --output "$out/model" "$@"

metrics=$out/model/metrics.jsonl
number() { sed -n "s/.*\"$1\":\([-0-9.e+]*\).*/\1/p"; }
printf '| step | validation loss |\n|---|---|\n'
grep '"event":"eval"' "$metrics" | while read -r line; do
  printf '| %s | %.4f |\n' "$(number step <<<"$line")" "$(number loss <<<"$line")"
done
"$sluice" sample --model "$out/model" --prompt "$(printf 'ROMEO:\nI ')" --max-new-tokens 50 --temperature 0.8 --seed 1 --top-k 0
final=$(grep '"event":"eval"' "$metrics" | tail -n 1 | number loss)
awk -v loss="$final" 'BEGIN { exit !(loss <= 1.90) }' || { echo "validation loss $final is above 1.90" >&2; exit 1; }
