#!/usr/bin/env bash
# Runs on any machine with torch 2.11 and an NVIDIA card what decides the speed and the promises of training there, in
# under 10 minutes, and prints one table. It builds the bench program alone; `sluice` is the one given, or that of
# build/release. A row that cannot run says why; without a card it ends in one line and exit code 2.
# usage: tools/gpu_check.sh [SLUICE]      (CHECK_DEVICE=emulated runs the frame itself on a machine without a card)
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sluice=${1:-$here/build/release/bin/sluice}
device=${CHECK_DEVICE:-cuda}
out=$(mktemp -d "${TMPDIR:-/tmp}/sluice-gpu-check-XXXXXX")
trap 'rm -rf "$out"' EXIT

fail() { printf 'gpu_check: [%s] %s\n' "$1" "$2" >&2; exit "${3:-2}"; }
row() { printf '| %s | %s |\n' "$1" "$2"; }
[ -x "$sluice" ] || fail build "no program: expected $sluice, got none; build with cmake --build --preset release" 2
build=$(cd "$(dirname "$sluice")/.." && pwd)
if [ "$device" = cuda ] && ! ldconfig -p 2>/dev/null | grep -q 'libcuda\.so\.1' && ! ls /usr/lib*/libcuda.so.1 /usr/lib/*/libcuda.so.1 >/dev/null 2>&1 &&
  ! { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }; then
  fail device "no card: expected an NVIDIA driver (libcuda.so.1), got none; run this where a card is" 2
fi

bench=$build/bin/bench_gpu_parts
if [ ! -x "$bench" ]; then
  if ! { cmake -S "$here" -B "$build" -DSLUICE_BENCH=ON && cmake --build "$build" --target bench_gpu_parts; } >"$out/build.log" 2>&1; then
    tail -n 5 "$out/build.log" >&2
    fail build "bench_gpu_parts does not build: see above" 2
  fi
fi

# One small model on the device or not: folder, device, more flags. Fails with sluice's own line in $out/FOLDER.log.
text=$here/examples/data/shakespeare-train.txt
train() {
  local folder=$1 place=$2
  shift 2
  timeout "${LIMIT:-40}" "$sluice" train --model "${MODEL:-$out/model}" --init random --tokenizer byte --data "$text" --output "$out/$folder" --seq-len "${TOKENS:-256}" \
    --micro-batch-size 2 --grad-accumulation 2 --max-steps "${STEPS:-10}" --lr 1e-3 --seed 7 --device "$place" "$@" >"$out/$folder.log" 2>&1 && return
  [ $? != 124 ] || echo "it took more than ${LIMIT:-40} seconds" >>"$out/$folder.log"
  return 1
}
why() { tail -n 1 "$out/$1.log"; }
losses() { grep '"event":"step"' "$out/$1/metrics.jsonl" | sed 's/.*"loss":\([^,]*\),.*/\1/'; }
digest() { sha256sum <"$out/$1/model.safetensors" | cut -c 1-16; }
field() { grep '"event":"end"' "$out/$1/metrics.jsonl" | tail -n 1 | sed -n "s/.*[{,]\"$2\":\([0-9.]*\).*/\1/p"; }
speed() { grep '"event":"step"' "$out/$1/metrics.jsonl" | sed 's/.*"tokens_per_second":\([0-9.]*\).*/\1/' | sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
# The least --device-memory of a run, which the refusal of one that is too small names.
least() {
  local folder=$1
  shift
  train "$folder" "$device" --dry-run --device-memory "$tiny" "$@"
  sed -n 's/.*needs at least [^(]*(\([0-9]*\) bytes.*/\1/p' "$out/$folder.log" | tail -n 1
}
# Card memory in use, in MiB; and the most of it while a command runs, beyond what it was before, into $out/used.
used() { nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits 2>/dev/null | head -n 1; }
watched() {
  local before watcher code
  before=$(used)
  while :; do used; sleep 0.1; done >"$out/samples" &
  watcher=$!
  "$@"
  code=$?
  kill $watcher && wait $watcher 2>/dev/null
  sort -n "$out/samples" | tail -n 1 | awk -v before="${before:-0}" '{ print $1 - before }' >"$out/used"
  return $code
}
# Of a card's memory, its libraries have 700 MiB; those of the emulated device are the process's.
if [ "$device" = cuda ]; then tiny=702MiB plenty=4GiB; else tiny=1MiB plenty=1GiB; fi

mkdir -p "$out/model"
cat >"$out/model/config.json" <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 512, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 6,
 "num_attention_heads": 8, "num_key_value_heads": 4, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
 "tie_word_embeddings": true, "initializer_range": 0.02, "torch_dtype": "float32", "bos_token_id": 1, "eos_token_id": 2}
JSON

# How far the losses of two runs are apart, and whether that is within a bound.
apart() {
  paste <(losses "$1") <(losses "$2") | awk -v bound="$3" \
    '{ d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > most) most = d } END { printf "at most %.1e off, %s", most, (most < bound ? "within " : "NOT WITHIN ") bound }'
}
fp32="--compute-dtype fp32" bf16="--compute-dtype bf16 --weights-dtype bf16" fp8="--compute-dtype bf16 --weights-dtype fp8"
agreement() {
  train cpu cpu || { row "losses against the CPU's" "not measured: $(why cpu)"; return; }
  # shellcheck disable=SC2086
  compare() {  # folder, bound, what, more flags
    local folder=$1 bound=$2 what=$3
    shift 3
    train "$folder" "$device" --device-memory $plenty "$@" || { row "losses $what" "not measured: $(why "$folder")"; return; }
    row "losses $what against the CPU's in fp32, 10 steps" "$(apart cpu "$folder" "$bound")"
  }
  # shellcheck disable=SC2086
  {
    compare plenty 1e-3 "in fp32" $fp32
    compare there 1e-3 "in fp32 with updates on the device" $fp32 --update-on device
    compare narrow 3e-2 "of bf16 weights and products" $bf16
    compare eight 3e-2 "of fp8 weights" $fp8
  }
}

# With enough tokens for fused attention, on a card.
bits() {
  local smallest tokens=256
  [ "$device" != cuda ] || tokens=2048
  # shellcheck disable=SC2086
  smallest=$(TOKENS=$tokens least least $bf16)
  [ -n "$smallest" ] || { row "the same bits in two budgets and again" "not measured: $(why least)"; return; }
  for run in "most $plenty" "small $smallest" "again $plenty"; do
    # shellcheck disable=SC2086
    TOKENS=$tokens watched train ${run% *} "$device" --device-memory ${run#* } $bf16 || { row "the same bits in two budgets and again" "not measured: $(why "${run% *}")"; return; }
    [ "${run% *}" != small ] || cp "$out/used" "$out/used-small"
  done
  local one two three
  one=$(digest most) two=$(digest small) three=$(digest again)
  row "weights in $plenty, in $smallest bytes and again" "$([ "$one" = "$two" ] && [ "$one" = "$three" ] && echo "the same bits ($one)" || echo "DIFFERENT: $one $two $three")"
  row "card memory that the run in $smallest bytes took, by nvidia-smi" "$(awk -v all="$smallest" 'NF { printf "%d MiB of %.0f", $1, all / 1048576 } END { if (!NR) printf "not measured: no nvidia-smi" }' "$out/used-small")"
  row "arena's peak, predicted and measured" "$(field small predicted_device_peak_bytes) and $(field small device_peak_bytes) bytes of $smallest; $(field most predicted_device_peak_bytes) and $(field most device_peak_bytes) of $plenty"
}

streaming() {
  local smallest
  if [ "$device" != cuda ]; then row "speed of streaming against resident" "not measured: no card"; return; fi
  big() { LIMIT=70 MODEL=smollm2-360m TOKENS=4096 STEPS=5 "$@"; }
  # shellcheck disable=SC2086
  {
    big train resident "$device" $bf16 || { row "speed of streaming against resident" "not measured: $(why resident)"; return; }
    smallest=$(big least big $bf16)
    [ -n "$smallest" ] || { row "speed of streaming against resident" "not measured: $(why big)"; return; }
    big train streamed "$device" --device-memory "$((smallest * 5 / 4))" $bf16 || { row "speed of streaming against resident" "not measured: $(why streamed)"; return; }
    big train eight "$device" --device-memory "$((smallest * 5 / 4))" $fp8 || row "streaming fp8 weights" "not measured: $(why eight)"
    big train all-there "$device" --update-on device || row "resident, updates on the card" "not measured: $(why all-there)"
  }
  row "smollm2-360m, 16384 tokens a step: streaming bf16 weights and fp8 weights in 5/4 of the least memory, resident, and with updates on the card (fp32 weights)" \
    "$(speed streamed), $(speed eight), $(speed resident) and $(speed all-there) tokens/s"
}

card=$(command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader 2>/dev/null | head -n 1)
printf '| what | found |\n|---|---|\n'
row card "${card:-unknown: no nvidia-smi}"
row host "$(nproc) threads, $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)"
if [ "$device" = cuda ]; then size=(4096 1024 llama-3-8b); else size=(64 16 smollm2-135m); fi
timeout 180 "$bench" "$device" "${size[@]}" 2>"$out/bench.log" || {
  code=$?
  [ $code != 124 ] || echo "it took more than 180 seconds" >>"$out/bench.log"
  row "copies, products, layer" "not measured: $(tail -n 1 "$out/bench.log")"
  [ $code = 2 ] && { tail -n 1 "$out/bench.log" >&2; exit 2; }
}
agreement
bits
streaming
