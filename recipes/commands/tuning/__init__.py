"""A search for hyper-parameters: KerasTuner proposes values, the recipe's own `train` is each trial.

specification.py    what is searched, and the refusal to go on with another search
search.py           a search from its beginning, or from where it was left, to its result
oracle.py           KerasTuner's four oracles, so that no state is lost and no worker waited for without end
tuner.py            KerasTuner's loop around a trial
trials.py           one trial: trained into a folder, scored from its history
chief.py worker.py  the same in several processes, or on several machines
progress.py         a line a trial
results.py          the table, the picture, best.json
"""
