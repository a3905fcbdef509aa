from django.contrib.auth import login, logout
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from . import views


@csrf_exempt
def log_in(request, id, role):
    flags = {"is_superuser": role == "superuser", "is_staff": role == "staff"}
    user, _ = User.objects.get_or_create(id=id, defaults={"username": f"user {id}", **flags})
    login(request, user)
    return HttpResponse(status=204)


@csrf_exempt
def log_out(request):
    logout(request)
    return HttpResponse(status=204)


urlpatterns = [path("login/<int:id>-<role>", log_in), path("logout", log_out)]

# recipe: django/urls.py
