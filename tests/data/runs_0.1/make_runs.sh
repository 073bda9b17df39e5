#!/bin/sh
# The runs of this folder, made again in the current directory, which has to be empty but for these scripts:
#   PYTHON=<python with version 0.1.0> PROJECT=<checkout of version 0.1.0> sh make_runs.sh
# Paths are relative to this folder, so that they hold wherever it is copied to.
set -e
export OMP_NUM_THREADS=1 LC_ALL=C.UTF-8
train() { "$PYTHON" "$PROJECT/train.py" "$@" figures=false; }
table="data=table data.path=table.csv data.target=churn data.weight=weight"
numbers="data=table data.path=numbers.csv data.target=y"
split="data.split={train:0.6,val:0.2,test:0.2}"

"$PYTHON" make_inputs.py

# The default run.
train epochs=101 hydra.run.dir=toy
# One that Ctrl-C ended: its record says so, and it can be resumed.
timeout -s INT 12 "$PYTHON" "$PROJECT/train.py" logger=csv epochs=2000000 lr=0.01 trainer.log_every_n_steps=20000 \
    hydra.run.dir=interrupted figures=false || test $? -eq 124
train $table $split logger=csv calibration=sigmoid penalty.l1=0.01 optimizer=proximal_newton hydra.run.dir=table
train data=table data.path=sparse.libsvm $split logger=csv optimizer=newton_cg hydra.run.dir=sparse
# The convolutional networks have checkpoints of 230 kB and more, which is too much for a folder of examples.
train data=images data.path=photos data.positive=cats data.size=4 model=linear_on_pixels data.batch_size=4 epochs=6 \
    "data.split={train:0.5,val:0.25,test:0.25}" logger=csv hydra.run.dir=photos_run
# Cut short, so that there is something left to do when it is resumed.
train $numbers $split logger=csv model=hand_written calibration=isotonic threshold=max_f1 epochs=4 hydra.run.dir=isotonic
train experiment=inference data.path=numbers.csv data.target=y logger=csv hydra.run.dir=inferred
# Mini-batches in float32, with much of what a configuration can name.
train $table $split logger=csv loss=mse model=module_class optimizer=adam lr=0.05 scheduler=cosine epochs=12 \
    data.batch_size=8 class_weight=balanced callbacks=early_stopping metrics.brier.n_bins=5 hydra.run.dir=mse
# Three penalties with two splits each, trained together; the winner alone is measured on test rows.
train -m $numbers $split logger=csv penalty.l2=0.01,0.1,1 seed=1,2 hydra.sweep.dir=sweep \
    'hydra.sweep.subdir=${hydra.job.num}'

# What is not kept, since nothing needs it, and some of it says where it was made: prepared tables, logs, TensorBoard's and
# Hydra's files (of a sweep it counts that there is a multirun.yaml); the checkpoints of all jobs of the sweep but one, and
# one of two checkpoints where both are of the same state.
rm -rf outputs .cache
find . -name train.log -delete
find . -name 'events.out.tfevents.*' -delete
for directory in */ sweep/*/; do rm -rf "$directory.hydra"; done
echo '{}' > sweep/multirun.yaml
rm interrupted/checkpoints/best.ckpt inferred/checkpoints/best.ckpt
for run in table sparse photos_run isotonic mse; do rm $run/checkpoints/last.ckpt; done
rm sweep/3/checkpoints/last.ckpt  # of the setting that won
for job in 0 1 2 4 5; do rm -r "sweep/$job/checkpoints"; done
