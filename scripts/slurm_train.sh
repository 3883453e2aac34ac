#!/usr/bin/env bash
# Training on several machines under SLURM: sbatch scripts/slurm_train.sh --config coco_mobilenetv2 --data.root COCO --out runs/coco
# All arguments go to `cocotag train`. Change the numbers of machines and GPUs here; the folders of data and run must be seen by
# all machines. --nodes and --ntasks-per-node below are what cocotag is told as --nodes and --devices.
#SBATCH --job-name=cocotag
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=SIGTERM@120
set -euo pipefail
# A job that was stopped at its time limit goes on where it was: sbatch scripts/slurm_train.sh --resume runs/coco
case " $* " in
*" --resume"*) exec srun --kill-on-bad-exit=1 cocotag train "$@" ;;
*) exec srun --kill-on-bad-exit=1 cocotag train "$@" --nodes "$SLURM_JOB_NUM_NODES" --devices "$SLURM_NTASKS_PER_NODE" ;;
esac
