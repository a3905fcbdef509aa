// A panel in small: Auth.js with users who are whoever they say, and the recipe.
import NextAuth from "next-auth";
import Credentials from "next-auth/providers/credentials";

export const { handlers, auth } = NextAuth({
  providers: [
    Credentials({
      credentials: { user: {} },
      authorize({ user }) {
        const [id, role] = String(user).split("-");
        return { id, role };
      },
    }),
  ],
  /* recipe: nextjs/callbacks.ts */
});
