"""Training of a cohort on one split. Each module imports only from modules listed before it:

options         options of training
distributed     several processes that train together, and devices
evaluation      predictions of trained members, and their scores
averages        moving averages of weights
feeds           batches of training and evaluation
checkpoints     trained students as files
history, timing, seeds, result    what a training returns; its random streams
targets         where the targets of the exchange come from
state           what changes during a training, for the loop and for callbacks
callbacks, early_stopping, inputs     what happens between epochs, and features before the first
checked_strategy    calls into a strategy, and checks of what it returns
method, members     options of a cohort, and its modules
step_maker, gradients, optimizer, epoch_record, selection     the parts of an epoch: a step's passes, backward, update; what it leaves
custom_state    checks of the state of custom modules
assessment      scores of the trained members
loop            phases, epochs and steps
assembly, trial_data    the parts of a training, made from its options and its data
snapshots, propagated, diversity    files to resume from; methods without training; diversity of a cohort
trainer         a training from its options to its result; start reading here
distill, memory, trackers     the ensemble in an MLP; memory of the process; metrics sent to other tools
"""
