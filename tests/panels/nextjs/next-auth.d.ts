/* recipe: nextjs/next-auth.d.ts */
