from by_hand import train_by_hand
from fit import make


def train(hparams, run):
    train_by_hand(hparams, run, make)
