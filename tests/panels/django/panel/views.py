# recipe: django/views.py
