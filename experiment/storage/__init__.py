"""The record of trials: Optuna studies in a database, written by one driver."""
