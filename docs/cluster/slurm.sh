#!/bin/sh
# Ray on Slurm, from a project folder that all nodes share, after `make ray`:
#   sbatch docs/cluster/slurm.sh
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
set -eu
PATH=$PWD/.venv/bin:$PATH
RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export PATH RAY_AUTH_MODE RAY_AUTH_TOKEN
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# On each node: Ray's processes. On the first one also the command, after which all of them end,
# and any other of this user on the node.
srun ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_ON_NODE" --include-dashboard=false --disable-usage-stats -- \
  env RAY_ADDRESS=auto make repro JOBS=$((SLURM_JOB_NUM_NODES * SLURM_CPUS_ON_NODE))
