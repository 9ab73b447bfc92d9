#!/bin/bash
# One shard of a run, as a task of a Slurm job array. `bash submit.sh` submits all of them, and the job that joins them.
#SBATCH --job-name=mi-shard
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=01:00:00
#SBATCH --output=shards/%A-%a.log
set -euo pipefail

# Not SLURM_ARRAY_TASK_COUNT: where one failed task is submitted again, that is 1.
shards=${SHARDS:?how many shards there are}
i=${SLURM_ARRAY_TASK_ID:?this is a task of a job array}
part=shards/part-$i-of-$shards.jsonl

# A task that was requeued after its work was done has nothing to do; one that was killed left no file.
if [ -e "$part" ] && mi verify -q "$part"; then
  exit 0
fi
mi attribute "${EXAMPLES:-examples.jsonl}" -m "${MODEL:-default}" --method "${METHOD:-eap-ig}" \
  --shard "$i/$shards" -q -o "$part"
