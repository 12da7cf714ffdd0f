"""Init imports scikit-learn."""

import sklearn
import sklearn.model_selection
import sklearn.svm


def handler(event, context):
    return {"version": sklearn.__version__, "kernel": sklearn.svm.SVC().kernel}
