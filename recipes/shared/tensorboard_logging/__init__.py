"""What TensorBoard gets of a run: by the same callback, so under the same tags, on both sides.

The step of a point is the number of optimizer updates made. Runs are named after folders: the run itself holds its
session in HParams, text, the projector and the layout of custom scalars; below it lie `train`, `validation` and `test`.

Every step, in `train`:
- `step_loss`: the loss of that step, not a running mean. The custom loop returns it. From fit it is recovered from the
  running mean that fit shows, so it carries its rounding, 1e-7 of the mean times the number of the step in its epoch
- `execution_loss` instead, the mean over an execution, where fit hides its steps (`steps_per_execution` above 1)
- `step_learning_rate`: the rate that this update used

Every epoch:
- `epoch_<metric>` in `train` and `validation`: as Keras' own callback names them
- `epoch_learning_rate`, `epoch_steps_per_second`, `epoch_examples_per_second`, `epoch_memory_mib` in `train`
- `update_to_weight`, `update_to_weight/<weight>` in `train`: |change| / |weight| in the last update of the epoch (and
  every `--log-every` steps); `execution_update_to_weight` where fit hides its steps
- `probe_gradient_norm`, and the histograms `weights/<weight>` and `gradients/<weight>` in `train`: the gradients are
  those on the first 256 training examples, in inference mode; also before training, and the norm every `--log-every`
  steps

Once: the operations of the train step and the layers of the model, in `train`; at the end `final_<metric>` in
`validation` and `test`, and in `test` the pictures `confusion_matrix` and `worst_mistakes`, or
`predicted_against_true` and `residuals`, `filters`, and `pr_curve/<class>`.

As often as the pair says: the pictures that it draws itself, in the run's own folder.

`--log scalars` leaves out what is neither loss, rate, metric nor speed.
"""
