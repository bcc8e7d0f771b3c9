"""Lightning callbacks and scikit-learn estimators."""
