#!/usr/bin/env bash
# Trains on several machines under SLURM: sbatch scripts/slurm_train.sh --config coco_mobilenetv2 --data.root COCO --out runs/coco
# Passes all arguments to `cocotag train`. Change the numbers of machines and GPUs below; cocotag gets them as --nodes and
# --devices. All machines must share the folders of the data and the run.
#SBATCH --job-name=cocotag
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=SIGTERM@120
set -euo pipefail
# To resume a job that reached its time limit: sbatch scripts/slurm_train.sh --resume runs/coco
case " $* " in
*" --resume"*) exec srun --kill-on-bad-exit=1 cocotag train "$@" ;;
*) exec srun --kill-on-bad-exit=1 cocotag train "$@" --nodes "$SLURM_JOB_NUM_NODES" --devices "$SLURM_NTASKS_PER_NODE" ;;
esac
