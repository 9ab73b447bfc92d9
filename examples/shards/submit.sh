#!/bin/bash
# A run in shards on a Slurm cluster: bash submit.sh [SHARDS]. Files lie where this is run, on a file system that all
# nodes see. A task that failed: SHARDS=8 sbatch --array=3 array.sh, and then the line that joins.
set -euo pipefail

export SHARDS=${1:-8} EXAMPLES=${EXAMPLES:-examples.jsonl} MODEL=${MODEL:-default} METHOD=${METHOD:-eap-ig}
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

mkdir -p shards
[ -e "$EXAMPLES" ] || mi data "${TASK:-ioi}" -m "$MODEL" -n "${N:-100}" -o "$EXAMPLES"
array=$(sbatch --parsable --export=ALL --array="1-$SHARDS" "$here/array.sh")
# Joining reads files and adds: no GPU. Its exit code is 3 where a shard is missing or of another run.
sbatch --parsable --export=ALL --dependency="afterok:${array%%;*}" --job-name=mi-merge --time=00:10:00 --mem=16G \
  --wrap "mi merge --sum shards/part-*-of-$SHARDS.jsonl -o scores.jsonl"
