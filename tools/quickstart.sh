#!/usr/bin/env bash
# From a fresh Debian 12 or Ubuntu 24.04 to a fine-tuned model: installs what is missing, builds, fetches SmolLM2-135M,
# trains all its parameters on bundled text inside a memory budget with weights and optimizer state on disk, and shows
# held-out perplexity and a sample before and after. Everything stays in this folder: .deps/, build/, models/, out/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

budget=${SLUICE_QUICKSTART_MEMORY:-1GiB}
steps=${SLUICE_QUICKSTART_STEPS:-10}
train_text=examples/data/shakespeare-train.txt
held_out_text=examples/data/shakespeare-held-out.txt
output=out/quickstart
sluice=build/release/bin/sluice
prompt='KING RICHARD:
My lords, '

heading() { printf '\n== %s\n' "$*"; }
fail() { printf 'quickstart: [%s] %s\n' "$1" "$2" >&2; exit "${3:-4}"; }

build() {
  mkdir -p build
  { cmake --preset release && cmake --build --preset release --target sluice; } >build/quickstart.log 2>&1 ||
    { tail -n 30 build/quickstart.log >&2; fail build "the build failed: see above and build/quickstart.log" 1; }
}

# The number that key $1 has in the JSON text on standard input; "-" if there is none.
number() { sed -n "s/.*\"$1\" *: *\\([-+0-9.eE]*\\).*/\\1/p" | tail -n 1 | grep . || echo -; }

evaluate() {  # model, name of the report
  $sluice eval --model "$1" --data $held_out_text --seq-len 512 --max-tokens 8192 --json "$output-$2.json" >/dev/null
  number perplexity <"$output-$2.json"
}

sample() { $sluice sample --model "$1" --prompt "$prompt" --max-new-tokens 48 --temperature 0.8 --top-p 0.95 --seed 1; }

compare() {  # label, predicted, measured, unit's divisor, unit
  awk -v label="$1" -v predicted="$2" -v measured="$3" -v divisor="$4" -v unit="$5" 'BEGIN {
    p = predicted == "-" ? "-" : sprintf("%.2f", predicted / divisor)
    m = measured == "-" ? "-" : sprintf("%.2f", measured / divisor)
    printf "  %-28s %12s %12s  %s\n", label, p, m, unit }'
}

show_promises() {
  local end
  end=$(grep '"event" *: *"end"' $output/metrics.jsonl | tail -n 1)
  printf '  %-28s %12s %12s\n' '' predicted measured
  compare 'arena peak' "$(number predicted_host_peak_bytes <<<"$end")" "$(number host_peak_bytes <<<"$end")" 1048576 MiB
  compare 'process peak' "$(number predicted_rss_bytes <<<"$end")" "$(number rss_bytes <<<"$end")" 1048576 MiB
  compare 'disk peak' "$(number predicted_disk_peak_bytes <<<"$end")" "$(number disk_peak_bytes <<<"$end")" 1048576 MiB
  compare 'time of a step' "$(number predicted_step_seconds <<<"$end")" "$(number step_seconds <<<"$end")" 1 s
}

SECONDS=0
heading 'What building needs'
tools/setup.sh
heading 'Build'
build
heading 'SmolLM2-135M'
model=$(tools/fetch_model.sh)
printf '%s (sha256 verified)\n' "$model"
mkdir -p out

heading 'Before'
before=$(evaluate "$model" before)
printf 'held-out perplexity %s\n\n' "$before"
sample "$model"

heading "Training all parameters for $steps steps in $budget, with weights and optimizer state on disk"
rm -rf $output $output-spill
$sluice train --model "$model" --data $train_text --output $output \
  --host-memory "$budget" --spill-dir $output-spill --seq-len 512 --micro-batch-size 4 --max-steps "$steps" --lr 2e-4

heading 'After'
after=$(evaluate $output after)
printf 'held-out perplexity %s\n\n' "$after"
sample $output

heading 'Forecast and fact'
show_promises

heading "Held-out perplexity $before -> $after in $((SECONDS / 60)) min $((SECONDS % 60)) s; the model is in $output, the report is $output/report.html"
